//! Finding a coordinator to talk to: the one named, the one at work on the state folder, or, for
//! commands that only read or steer what is stored, one opened in place for a moment.

use std::{net::SocketAddr, time::Duration};

use experiment_spec::catalog::Catalog;
use orchestrator_proto::{MAX_MESSAGE_BYTES, v1::submissions_client::SubmissionsClient};
use tonic::transport::Channel;

use crate::{
    catalog,
    cli::Global,
    exit::{Failure, Outcome},
    home::Home,
    local::{Local, endpoint},
};

pub(crate) type Client = SubmissionsClient<Channel>;

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

/// A client on a channel, with the message limit of the wire contract.
pub(crate) fn client(channel: Channel) -> Client {
    SubmissionsClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

impl Session {
    /// Connects as the options say.
    pub(crate) async fn connect(global: &Global, need: Need) -> Outcome<Self> {
        if let Some(url) = &global.coordinator {
            let channel = dial(url).await.map_err(|why| {
                Failure::Unreachable(format!(
                    "the coordinator at {url} could not be reached: {why}; is `orchestrator serve` at work there?"
                ))
            })?;
            return Ok(Self { client: client(channel), local: None });
        }
        let home = Home::resolve(global.home.clone())?;
        if let Ok(url) = std::fs::read_to_string(home.endpoint())
            && let Ok(channel) = dial(url.trim()).await
        {
            return Ok(Self { client: client(channel), local: None });
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
        let local = Local::start(&home, config, SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        Ok(Self { client: client(local.channel()?), local: Some(local) })
    }

    /// Ends the connection, and closes what was opened in place.
    pub(crate) async fn close(self) {
        drop(self.client);
        if let Some(local) = self.local {
            local.stop().await;
        }
    }
}

async fn dial(url: &str) -> Result<Channel, String> {
    let endpoint = endpoint(url).map_err(|_| format!("`{url}` is not an address like http://127.0.0.1:7117"))?;
    let reason = |error: &dyn std::error::Error| {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            text = inner.to_string();
            source = inner.source();
        }
        text
    };
    match tokio::time::timeout(Duration::from_secs(5), endpoint.connect()).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(reason(&error)),
        Err(_) => Err("no answer within 5 s".to_owned()),
    }
}
