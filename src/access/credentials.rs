//! `credentials.toml` in the state folder: the authority's key and all tokens. Only its owner may read it.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use experiment_spec::ids::ContentHash;
use orchestrator_proto::link::{Role, Token};
use serde::{Deserialize, Serialize};

use super::authority::{Authority, AuthorityError};

/// Longest name of a token.
const MAX_NAME_CHARS: usize = 40;
/// Most tokens of a coordinator: each request is compared with all of them.
const MAX_TOKENS: usize = 1_000;
/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// The head of the file.
const HEAD: &str = "# Made by `orchestrator serve`. Whoever reads this file can do everything the coordinator's owner can.\n\
                    # `orchestrator tokens` shows and changes it.\n\n";

/// Why the credentials cannot be used; the sentence names the file and the cure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    #[error("{path}: {error}", path = .path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{path} can be read by others (mode {mode:o}): who did may have the tokens; make it yours with `chmod 600`, or better delete it and start anew with new tokens", path = .path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("{path} cannot be read: {why}; put back a copy, or delete it and start anew with new tokens", path = .path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("no authority could be made: {0}")]
    Authority(#[from] AuthorityError),
    #[error("{0}")]
    Refused(String),
}

/// One token and whose it is.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Entry {
    /// What people call it.
    pub(crate) name: String,
    role: String,
    secret: String,
    /// When it was made, UTC.
    pub(crate) made: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Text {
    authority: AuthorityText,
    #[serde(default, rename = "token")]
    tokens: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct AuthorityText {
    certificate: String,
    key: String,
}

/// The credentials of a coordinator.
pub(crate) struct Credentials {
    path: PathBuf,
    text: Text,
    authority: Authority,
    tokens: Vec<(String, Token)>,
}

/// What is debugged ends up in logs: no secrets.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads them; `None` when there are none.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, CredentialsError> {
        let fail = |error| CredentialsError::Io { path: path.to_owned(), error };
        let about = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            about => about.map_err(fail)?,
        };
        let mode = about.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(CredentialsError::Open { path: path.to_owned(), mode });
        }
        if about.len() > MAX_FILE_BYTES {
            return Err(damaged(path, format!("it has {} bytes, at most {MAX_FILE_BYTES} are read", about.len())));
        }
        let text = fs::read_to_string(path).map_err(fail)?;
        // What the reader says of a mistake would show the line: it may be a secret.
        let text: Text = toml::from_str(&text).map_err(|error| damaged(path, error.message()))?;
        Self::of(path, text).map(Some)
    }

    /// Reads them, or makes an authority, a token for users and one for workers.
    pub(crate) fn open_or_make(path: &Path) -> Result<Self, CredentialsError> {
        let _editing = editing(path)?;
        if let Some(there) = Self::open(path)? {
            return Ok(there);
        }
        let (certificate, key) = Authority::make()?;
        let mut made = Self::of(path, Text { authority: AuthorityText { certificate, key }, tokens: Vec::new() })?;
        for role in Role::ALL {
            made.add(role, role.name())?;
        }
        made.save()?;
        Ok(made)
    }

    /// Changes them, while nobody else does.
    pub(crate) fn edit<T>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, CredentialsError>,
    ) -> Result<T, CredentialsError> {
        let _editing = editing(path)?;
        let mut there = Self::open(path)?.ok_or_else(|| CredentialsError::Refused(none_here(path)))?;
        let done = change(&mut there)?;
        there.save()?;
        Ok(done)
    }

    fn of(path: &Path, text: Text) -> Result<Self, CredentialsError> {
        let authority = Authority::read(&text.authority.certificate, &text.authority.key)
            .map_err(|error| damaged(path, format!("its authority: {error}")))?;
        let fingerprint = authority.fingerprint();
        let read = |entry: &Entry| {
            let role = Role::from_name(&entry.role)?;
            Some((entry.name.clone(), Token { role, secret: entry.secret.parse().ok()?, authority: fingerprint }))
        };
        let tokens = text.tokens.iter().map(|entry| {
            read(entry).ok_or_else(|| damaged(path, format!("token `{}` has no role or secret", entry.name)))
        });
        let tokens = tokens.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { path: path.to_owned(), text, authority, tokens })
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The authority's certificate in PEM; no secret.
    pub(crate) fn certificate(&self) -> &str {
        &self.text.authority.certificate
    }

    /// All tokens with their names, oldest first.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = (&Entry, &Token)> {
        self.text.tokens.iter().zip(self.tokens.iter().map(|(_, token)| token))
    }

    /// The oldest token of a role.
    pub(crate) fn first(&self, role: Role) -> Option<&Token> {
        self.tokens.iter().map(|(_, token)| token).find(|token| token.role == role)
    }

    /// The token of this name.
    pub(crate) fn named(&self, name: &str) -> Result<&Token, CredentialsError> {
        let found = self.tokens.iter().find(|(own, _)| own == name);
        found.map(|(_, token)| token).ok_or_else(|| {
            let known: Vec<&str> = self.tokens.iter().map(|(name, _)| name.as_str()).collect();
            CredentialsError::Refused(format!("there is no token `{name}`; there are: {}", known.join(", ")))
        })
    }

    /// Makes a token of this name.
    pub(crate) fn add(&mut self, role: Role, name: &str) -> Result<Token, CredentialsError> {
        let refuse = |sentence: String| Err(CredentialsError::Refused(sentence));
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || !name.chars().all(plain) {
            return refuse(format!(
                "`{name}` is no name for a token: expected 1 to {MAX_NAME_CHARS} letters, digits, - _ ."
            ));
        }
        if self.tokens.iter().any(|(there, _)| there == name) {
            return refuse(format!("there is a token `{name}` already: revoke it first, or choose another name"));
        }
        if self.tokens.len() >= MAX_TOKENS {
            return refuse(format!("there are {MAX_TOKENS} tokens already: revoke those that nobody uses"));
        }
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|error| CredentialsError::Io {
            path: PathBuf::from("random numbers of the system"),
            error: io::Error::other(error),
        })?;
        let token = Token { role, secret: ContentHash::from_bytes(random), authority: self.authority.fingerprint() };
        let made = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
        let secret = token.secret.to_string();
        self.text.tokens.push(Entry { name: name.to_owned(), role: role.name().to_owned(), secret, made });
        self.tokens.push((name.to_owned(), token.clone()));
        Ok(token)
    }

    /// Takes a token back.
    pub(crate) fn revoke(&mut self, name: &str) -> Result<(), CredentialsError> {
        self.named(name)?;
        self.text.tokens.retain(|entry| entry.name != name);
        self.tokens.retain(|(there, _)| there != name);
        Ok(())
    }

    /// Written beside, synced, renamed; a temporary file is its owner's only from the start.
    fn save(&self) -> Result<(), CredentialsError> {
        let fail = |error| CredentialsError::Io { path: self.path.clone(), error };
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let text = toml::to_string(&self.text).map_err(|error| fail(io::Error::other(error)))?;
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
        file.write_all(HEAD.as_bytes()).and_then(|()| file.write_all(text.as_bytes())).map_err(fail)?;
        file.as_file().sync_all().map_err(fail)?;
        file.persist(&self.path).map_err(|refused| fail(refused.error))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail)
    }
}

/// What is said where no coordinator has made any.
pub(crate) fn none_here(path: &Path) -> String {
    format!(
        "there is no {}: `orchestrator serve` makes it when it listens on a network, or with --secure",
        path.display()
    )
}

fn damaged(path: &Path, why: impl Into<String>) -> CredentialsError {
    CredentialsError::Damaged { path: path.to_owned(), why: why.into() }
}

/// One who changes the file at a time.
fn editing(path: &Path) -> Result<File, CredentialsError> {
    let beside = path.with_extension("lock");
    let lock = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = File::options().create(true).truncate(false).write(true).open(&beside)?;
        file.lock()?;
        Ok(file)
    };
    lock().map_err(|error| CredentialsError::Io { path: beside.clone(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (tempfile::TempDir, PathBuf, Credentials) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.toml");
        let made = Credentials::open_or_make(&path).unwrap();
        (folder, path, made)
    }

    #[test]
    fn the_first_start_makes_an_authority_and_a_token_of_each_role_and_later_ones_keep_them() {
        let (_folder, path, made) = made();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Credentials::open_or_make(&path).unwrap();
        assert_eq!(again.authority().fingerprint(), made.authority().fingerprint());
        for role in Role::ALL {
            assert_eq!(again.first(role), made.first(role));
            assert_eq!(made.first(role).unwrap().authority, made.authority().fingerprint());
        }
        assert_ne!(made.first(Role::User).unwrap().secret, made.first(Role::Worker).unwrap().secret);
    }

    #[test]
    fn tokens_are_made_and_taken_back_by_name() {
        let (_folder, path, _) = made();
        let token = Credentials::edit(&path, |there| there.add(Role::Worker, "node-7")).unwrap();
        let there = Credentials::open(&path).unwrap().unwrap();
        assert_eq!(there.named("node-7").unwrap(), &token);
        let twice = Credentials::edit(&path, |there| there.add(Role::User, "node-7")).unwrap_err().to_string();
        assert!(twice.contains("there is a token `node-7` already"), "{twice}");
        Credentials::edit(&path, |there| there.revoke("node-7")).unwrap();
        let gone = Credentials::edit(&path, |there| there.revoke("node-7")).unwrap_err().to_string();
        assert!(gone.ends_with("there are: user, worker"), "{gone}");
        for bad in ["", "a b", "../x", &"x".repeat(MAX_NAME_CHARS + 1)] {
            assert!(Credentials::edit(&path, |there| there.add(Role::User, bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_or_that_is_damaged_is_refused_and_no_secret_is_shown() {
        let (_folder, path, made) = made();
        let secret = made.first(Role::User).unwrap().secret.to_string();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = Credentials::open_or_make(&path).unwrap_err().to_string();
        assert!(refused.contains("mode 640") && refused.contains("chmod 600"), "{refused}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for (from, to) in [("secret = ", "secret "), ("secret = ", "secrets = "), ("role = \"user\"", "role = \"god\"")]
        {
            fs::write(&path, text.replace(from, to)).unwrap();
            let refused = Credentials::open_or_make(&path).unwrap_err().to_string();
            assert!(refused.contains("cannot be read") && !refused.contains(&secret), "{refused}");
        }
    }

    #[test]
    fn where_there_are_none_the_sentence_says_how_they_come_about() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.toml");
        let refused = Credentials::edit(&path, |there| there.revoke("user")).unwrap_err().to_string();
        assert!(refused.contains("`orchestrator serve` makes it"), "{refused}");
        assert!(!path.exists());
    }
}
