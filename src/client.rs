//! Finding a coordinator to talk to: the one named, the one at work on the state folder, or, for
//! commands that only read or steer what is stored, one opened in place for a moment.

use std::net::SocketAddr;

use experiment_spec::catalog::Catalog;
use orchestrator_proto::{
    MAX_MESSAGE_BYTES,
    link::{Link, Role},
    v1::submissions_client::SubmissionsClient,
};

use crate::{
    catalog,
    cli::Global,
    exit::{Failure, Outcome},
    home::Home,
    link,
    local::Local,
};

pub(crate) type Client = SubmissionsClient<Link>;

/// A connection, and the coordinator behind it when it was opened in place.
pub(crate) struct Session {
    pub(crate) client: Client,
    local: Option<Local>,
}

/// What a command needs of the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A coordinator that is at work and stays so.
    Live,
    /// The records: a stored state folder will do.
    Records,
}

/// A client on a link, with the message limit of the wire contract.
pub(crate) fn client(link: Link) -> Client {
    SubmissionsClient::new(link)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

impl Session {
    /// Connects as the options say.
    pub(crate) async fn connect(global: &Global, need: Need) -> Outcome<Self> {
        let home = Home::resolve(global.home.clone())?;
        if let Some(url) = &global.coordinator {
            let token = link::token(global, &home, Role::User)?;
            return Ok(Self { client: client(link::connect(url, token.as_ref()).await?), local: None });
        }
        if let Ok(url) = std::fs::read_to_string(home.endpoint()) {
            let token = link::token(global, &home, Role::User)?;
            // Nobody is there any more when it was killed.
            if let Ok(link) = link::connect(url.trim(), token.as_ref()).await {
                return Ok(Self { client: client(link), local: None });
            }
        }
        if need == Need::Live || !home.has_database() {
            return Err(Failure::Unreachable(format!(
                "no coordinator is at work on {}; start one with `orchestrator serve`, name one with --coordinator URL, or do everything here with `orchestrator run SPEC`",
                home.root().display()
            )));
        }
        // Only opened to read: nothing of a user's may be run meanwhile by a worker that finds it.
        let for_reading = Catalog { external: None, ..catalog::registries() };
        let config = Local::config(&home, for_reading);
        let local = Local::start(&home, config, SocketAddr::from(([127, 0, 0, 1], 0)), None).await?;
        Ok(Self { client: client(local.link()), local: Some(local) })
    }

    /// Ends the connection, and closes what was opened in place.
    pub(crate) async fn close(self) {
        drop(self.client);
        if let Some(local) = self.local {
            local.stop().await;
        }
    }
}
