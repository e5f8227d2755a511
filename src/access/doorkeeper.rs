//! Knows the tokens that are valid now, and tells whose one is.

use experiment_spec::ids::ContentHash;
use orchestrator_proto::link::{Role, Token};

use super::credentials::Credentials;

/// Somebody who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// What the token is known by; tells nothing of its secret.
    pub(crate) id: ContentHash,
    pub(crate) role: Role,
}

/// The valid tokens. Secrets are kept as their hashes, and compared in a time that tells nothing about them.
#[derive(Debug)]
pub(crate) struct Doorkeeper {
    tokens: Vec<Kept>,
}

#[derive(Debug)]
pub(super) struct Kept {
    pub(super) known: Known,
    digest: blake3::Hash,
    /// What sessions of the dashboard are sealed with.
    pub(super) seal: [u8; 32],
}

impl Doorkeeper {
    pub(crate) fn new(credentials: &Credentials) -> Self {
        Self { tokens: credentials.tokens().map(|(_, token)| Kept::new(token)).collect() }
    }

    /// Whose token this is. All are looked at, whichever it is.
    pub(crate) fn recognise(&self, token: &Token) -> Option<Known> {
        let digest = digest(token);
        let mut found = None;
        for kept in &self.tokens {
            // Comparing two hashes of this type takes the same time wherever they differ.
            if kept.digest == digest {
                found = Some(kept.known);
            }
        }
        found
    }

    /// Whether the token known by this id is still valid.
    pub(crate) fn knows(&self, id: &ContentHash) -> bool {
        self.kept(id).is_some()
    }

    pub(super) fn kept(&self, id: &ContentHash) -> Option<&Kept> {
        self.tokens.iter().find(|kept| kept.known.id == *id)
    }
}

impl Kept {
    fn new(token: &Token) -> Self {
        let digest = digest(token);
        let secret = token.to_string();
        Self {
            known: Known { id: ContentHash::of(digest.as_bytes()), role: token.role },
            digest,
            seal: blake3::derive_key("orchestrator dashboard session v1", secret.as_bytes()),
        }
    }
}

/// Of role, secret and authority: a user's secret in a worker's token is another token.
fn digest(token: &Token) -> blake3::Hash {
    blake3::hash(token.to_string().as_bytes())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::access) fn made() -> (Credentials, Doorkeeper) {
        let folder = tempfile::tempdir().unwrap();
        let credentials = Credentials::open_or_make(&folder.path().join("credentials.toml")).unwrap();
        let doorkeeper = Doorkeeper::new(&credentials);
        (credentials, doorkeeper)
    }

    #[test]
    fn each_token_is_recognised_with_its_role_and_no_other_is() {
        let (mut credentials, doorkeeper) = made();
        for role in Role::ALL {
            let token = credentials.first(role).unwrap().clone();
            let known = doorkeeper.recognise(&token).unwrap();
            assert_eq!(known.role, role);
            assert!(doorkeeper.knows(&known.id));
            let mut guesses = vec![Token { secret: ContentHash::of(b"guess"), ..token.clone() }];
            guesses.push(Token { authority: ContentHash::of(b"other"), ..token.clone() });
            let other = Role::ALL.into_iter().find(|other| *other != role).unwrap();
            guesses.push(Token { role: other, ..token });
            assert!(guesses.iter().all(|guess| doorkeeper.recognise(guess).is_none()));
        }
        let user = credentials.first(Role::User).unwrap().clone();
        let known = doorkeeper.recognise(&user).unwrap();
        credentials.revoke("user").unwrap();
        let later = Doorkeeper::new(&credentials);
        assert!(later.recognise(&user).is_none() && !later.knows(&known.id));
    }
}
