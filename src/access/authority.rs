//! A private certificate authority: it certifies this coordinator and nothing else, for whoever has its fingerprint.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use experiment_spec::ids::ContentHash;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tokio_rustls::rustls::{
    ServerConfig, crypto,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    version::TLS13,
};

/// The authority lasts longer than any installation; a new one is made by hand.
const AUTHORITY_LASTS: Duration = Duration::from_hours(10 * 365 * 24);
/// A certificate is made anew at each start and every so often while the coordinator is up (`server/doors.rs`).
const CERTIFICATE_LASTS: Duration = Duration::from_hours(90 * 24);
/// Clocks of other machines may be behind.
const CLOCKS_DIFFER: Duration = Duration::from_hours(24);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    #[error("{0}")]
    Certificate(#[from] rcgen::Error),
    #[error("{0}")]
    Pem(#[from] tokio_rustls::rustls::pki_types::pem::Error),
    #[error("{0}")]
    Tls(#[from] tokio_rustls::rustls::Error),
}

/// An authority with its key.
#[derive(Debug)]
pub(crate) struct Authority {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    /// A new one, as certificate and key in PEM.
    pub(crate) fn make() -> Result<(String, String), AuthorityError> {
        let key = KeyPair::generate()?;
        let mut about = about_authority();
        (about.not_before, about.not_after) = validity(AUTHORITY_LASTS);
        Ok((about.self_signed(&key)?.pem(), key.serialize_pem()))
    }

    /// Reads what [`Authority::make`] made.
    pub(crate) fn read(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes())?;
        Ok(Self { certificate, key: KeyPair::from_pem(key)? })
    }

    /// What a token names it by.
    pub(crate) fn fingerprint(&self) -> ContentHash {
        ContentHash::of(&self.certificate)
    }

    /// Settings of a server that can be called by these names and addresses, with a key of its own.
    pub(crate) fn certify(&self, names: &[String]) -> Result<Arc<ServerConfig>, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut about = CertificateParams::new(names)?;
        about.distinguished_name = named("orchestrator coordinator");
        about.use_authority_key_identifier_extension = true;
        about.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        about.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (about.not_before, about.not_after) = validity(CERTIFICATE_LASTS);
        let issuer = Issuer::new(about_authority(), &self.key);
        let certificate = about.signed_by(&key, &issuer)?.der().clone();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            // The authority goes along: callers know it by its fingerprint only.
            .with_single_cert(vec![certificate, self.certificate.clone()], key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// What is always the same of it, so that it can issue from its key alone.
fn about_authority() -> CertificateParams {
    let mut about = CertificateParams::default();
    about.distinguished_name = named("orchestrator private authority");
    about.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    about.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    about
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn validity<T: From<SystemTime>>(lasts: Duration) -> (T, T) {
    let now = SystemTime::now();
    ((now - CLOCKS_DIFFER).into(), (now + lasts).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_reads_back_and_certifies_names_and_addresses() {
        let (certificate, key) = Authority::make().unwrap();
        let authority = Authority::read(&certificate, &key).unwrap();
        let again = Authority::read(&certificate, &key).unwrap();
        assert_eq!(authority.fingerprint(), again.fingerprint());
        let config = authority.certify(&["localhost".into(), "127.0.0.1".into(), "::1".into()]).unwrap();
        assert_eq!(config.alpn_protocols[0], b"h2");
        let (other, key) = Authority::make().unwrap();
        assert_ne!(Authority::read(&other, &key).unwrap().fingerprint(), authority.fingerprint());
    }

    #[test]
    fn damaged_text_is_no_authority() {
        let (certificate, key) = Authority::make().unwrap();
        assert!(Authority::read(&certificate[10..], &key).is_err());
        assert!(Authority::read(&certificate, "").is_err());
        assert!(Authority::read(&certificate, &key).unwrap().certify(&["not a name \u{e9}".into()]).is_err());
    }
}
