//! Sessions of the dashboard: a cookie that a user's token has sealed. Nothing is kept here; a session ends with its time
//! or with its token.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use orchestrator_proto::link::{Role, Token};

use super::doorkeeper::{Doorkeeper, Known};

/// Name of the cookie; browsers take one of this prefix only over TLS and for the whole host.
pub(crate) const COOKIE: &str = "__Host-orchestrator";
/// How long a session lasts.
pub(crate) const HOURS: u64 = 12;

impl Doorkeeper {
    /// The value of a session's cookie for the holder of a user's token.
    pub(crate) fn open_session(&self, token: &Token, now: SystemTime) -> Option<String> {
        let known = self.recognise(token).filter(|known| known.role == Role::User)?;
        let kept = self.kept(&known.id)?;
        let ends = seconds(now + Duration::from_hours(HOURS));
        Some(format!("{}.{ends}.{}", known.id, seal(&kept.seal, ends)))
    }

    /// Who has this session, if it is one and has not ended.
    pub(crate) fn of_session(&self, value: &str, now: SystemTime) -> Option<Known> {
        let mut parts = value.split('.');
        let (id, ends, sealed) = (parts.next()?, parts.next()?, parts.next()?);
        let (id, ends) = (id.parse().ok()?, ends.parse::<u64>().ok()?);
        let kept = self.kept(&id)?;
        // Compared as hashes of this type: in a time that does not tell where they differ.
        let is_sealed = blake3::Hash::from_hex(sealed).ok()? == seal(&kept.seal, ends);
        (is_sealed && seconds(now) < ends).then_some(kept.known)
    }
}

fn seal(key: &[u8; 32], ends: u64) -> blake3::Hash {
    blake3::keyed_hash(key, &ends.to_le_bytes())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::{super::doorkeeper::tests::made, *};

    #[test]
    fn a_session_lasts_its_hours_and_no_longer_than_its_token() {
        let (mut credentials, doorkeeper) = made();
        let user = credentials.first(Role::User).unwrap().clone();
        let now = SystemTime::now();
        let value = doorkeeper.open_session(&user, now).unwrap();
        assert!(!value.contains(&user.secret.to_string()));
        let later = |hours| now + Duration::from_hours(hours);
        assert_eq!(doorkeeper.of_session(&value, later(HOURS - 1)), doorkeeper.recognise(&user));
        assert_eq!(doorkeeper.of_session(&value, later(HOURS)), None);
        credentials.revoke("user").unwrap();
        assert_eq!(Doorkeeper::new(&credentials).of_session(&value, now), None);
    }

    #[test]
    fn a_session_that_was_made_up_or_made_longer_is_none() {
        let (credentials, doorkeeper) = made();
        let (user, worker) = (credentials.first(Role::User).unwrap(), credentials.first(Role::Worker).unwrap());
        let now = SystemTime::now();
        assert_eq!(doorkeeper.open_session(worker, now), None, "workers do not sign in");
        let value = doorkeeper.open_session(user, now).unwrap();
        let mut parts: Vec<&str> = value.split('.').collect();
        let longer = (parts[1].parse::<u64>().unwrap() + 3600).to_string();
        parts[1] = &longer;
        for bad in ["", "a.b.c", &value[..value.len() - 1], &parts.join(".")] {
            assert_eq!(doorkeeper.of_session(bad, now), None, "{bad}");
        }
    }
}
