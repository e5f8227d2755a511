//! Who calls: tokens, what goes with each call, and the handle by which a slow client is cut off.

use std::{fmt, str::FromStr, sync::Arc};

use experiment_spec::ids::ContentHash;
use tokio::sync::Notify;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

/// A way to the coordinator, with the caller's token where one is needed.
pub type Link = InterceptedService<Channel, Bearer>;

/// Whom a token belongs to. Neither may do what the other may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Submits, steers, reads; signs in to the dashboard.
    User,
    /// Takes steps and reports on them.
    Worker,
}

impl Role {
    /// Both.
    pub const ALL: [Self; 2] = [Self::User, Self::Worker];

    /// Its name in files, tokens and sentences.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Worker => "worker",
        }
    }

    /// The role of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// What lets somebody in: a secret, and the fingerprint of the authority that the coordinator must be certified by, so
/// that the secret is told to nobody else. Written `user.SECRET.AUTHORITY`, both in 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Whom it belongs to.
    pub role: Role,
    /// 256 random bits.
    pub secret: ContentHash,
    /// BLAKE3 of the certificate (DER) of the coordinator's own authority.
    pub authority: ContentHash,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.role.name(), self.secret, self.authority)
    }
}

/// Never tells the secret: what is debugged ends up in logs.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}.***.{})", self.role.name(), self.authority)
    }
}

/// A text that is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no token: expected user.… or worker.… as `orchestrator tokens show` prints it, all of it")]
pub struct NoToken;

impl FromStr for Token {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        let mut parts = text.trim().split('.');
        let (Some(role), Some(secret), Some(authority), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NoToken);
        };
        let hash = |text: &str| text.parse::<ContentHash>().map_err(|_| NoToken);
        Ok(Self { role: Role::from_name(role).ok_or(NoToken)?, secret: hash(secret)?, authority: hash(authority)? })
    }
}

/// Sends a token with each call, or nothing.
#[derive(Clone, Debug, Default)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    /// Of this token.
    ///
    /// # Panics
    /// Never: a token is letters, digits and points.
    #[must_use]
    pub fn of(token: &Token) -> Self {
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {token}").parse().expect("a token is letters, digits and points");
        value.set_sensitive(true);
        Self(Some(value))
    }

    /// A channel whose calls carry it.
    #[must_use]
    pub fn over(self, channel: Channel) -> Link {
        InterceptedService::new(channel, self)
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// Stands with each request: cuts the connection that it came by. For clients that do not take what they asked for.
#[derive(Clone, Debug, Default)]
pub struct Cut(Arc<Notify>);

impl Cut {
    /// Ends the connection, with all that is under way on it.
    pub fn cut(&self) {
        self.0.notify_one();
    }

    /// Ready once it has been cut.
    pub async fn wanted(&self) {
        self.0.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(role: Role) -> Token {
        Token { role, secret: ContentHash::of(b"secret"), authority: ContentHash::of(b"authority") }
    }

    #[test]
    fn a_token_reads_back_as_it_was_written() {
        for role in Role::ALL {
            let text = token(role).to_string();
            assert_eq!(format!(" {text}\n").parse(), Ok(token(role)));
            assert_eq!(text.len(), role.name().len() + 2 * 65);
        }
    }

    #[test]
    fn what_is_cut_short_or_of_no_role_is_no_token() {
        let text = token(Role::User).to_string();
        for bad in ["", "user", "..", &text[..text.len() - 1], &format!("{text}.x"), &text.replace("user", "root")] {
            assert_eq!(bad.parse::<Token>(), Err(NoToken), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_not_debugged() {
        let token = token(Role::Worker);
        let shown = format!("{token:?} {:?}", Bearer::of(&token));
        assert!(!shown.contains(&token.secret.to_string()), "{shown}");
    }
}
