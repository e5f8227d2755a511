//! `chaos`: the fault suite against a throw-away fleet.

use crate::{
    chaos,
    cli::{ChaosArgs, Global},
    exit::Outcome,
};

/// Tries out what is promised, on this machine.
pub(super) async fn chaos(global: &Global, args: ChaosArgs) -> Outcome {
    chaos::carry_out(global, args).await
}
