//! Who may come in over a network: the coordinator's own authority, the tokens it gave out, and the file they are in.

mod authority;
mod credentials;
mod doorkeeper;
mod session;

pub(crate) use credentials::{Credentials, CredentialsError, none_here};
pub(crate) use doorkeeper::{Doorkeeper, Known};
pub(crate) use session::{COOKIE, HOURS};
