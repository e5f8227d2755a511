//! Calling a coordinator: plainly on this machine, over TLS elsewhere, where the token says which authority to believe.

use std::{io, net::IpAddr, path::Path, sync::Arc, time::Duration};

use experiment_spec::ids::ContentHash;
use hyper_util::rt::TokioIo;
use orchestrator_proto::link::{Bearer, Link, Role, Token};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
        client::{
            WebPkiServerVerifier,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::{self, CryptoProvider, verify_tls13_signature},
        pki_types::{CertificateDer, ServerName, UnixTime},
        version::TLS13,
    },
};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::{
    access::Credentials,
    cli::Global,
    exit::{Failure, Outcome},
    home::Home,
};

/// A token by itself; it is no option, because everybody on a machine sees the options of all programs.
const TOKEN: &str = "ORCHESTRATOR_TOKEN";
/// A coordinator that is there answers sooner.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest file that is read for a token.
const TOKEN_FILE_BYTES: u64 = 4 << 10;

/// The token to call a coordinator with: from the environment, the file that was named, or this state folder's own.
pub(crate) fn token(global: &Global, home: &Home, role: Role) -> Outcome<Option<Token>> {
    let read = |text: &str, place: &str| {
        let token: Token = text.parse().map_err(|error| Failure::request(format!("{place}: {error}")))?;
        if token.role == role {
            return Ok(Some(token));
        }
        let (is, needs) = (token.role.name(), role.name());
        Err(Failure::request(format!("{place}: this is a {is}'s token, and a {needs}'s is needed here")))
    };
    if let Some(text) = std::env::var_os(TOKEN).filter(|text| !text.is_empty()) {
        return read(&text.to_string_lossy(), TOKEN);
    }
    if let Some(path) = &global.token_file {
        return read(&small_file(path)?, &path.display().to_string());
    }
    let credentials = Credentials::open(&home.credentials()).map_err(|error| Failure::request(error.to_string()))?;
    Ok(credentials.and_then(|credentials| credentials.first(role).cloned()))
}

fn small_file(path: &Path) -> Outcome<String> {
    let fail = |error: io::Error| Failure::request(format!("{}: {error}", path.display()));
    let bytes = std::fs::metadata(path).map_err(fail)?.len();
    if bytes > TOKEN_FILE_BYTES {
        return Err(Failure::request(format!("{}: {bytes} bytes are no token", path.display())));
    }
    std::fs::read_to_string(path).map_err(fail)
}

/// A link that connects when it is used, and again when it broke.
pub(crate) fn lazy(url: &str, token: Option<&Token>) -> Outcome<Link> {
    let (endpoint, tls) = prepare(url, token)?;
    Ok(match tls {
        None => Bearer::default().over(endpoint.connect_lazy()),
        Some((tls, bearer)) => bearer.over(endpoint.connect_with_connector_lazy(connector(tls))),
    })
}

/// A link that is connected.
pub(crate) async fn connect(url: &str, token: Option<&Token>) -> Outcome<Link> {
    let (endpoint, tls) = prepare(url, token)?;
    let connecting = async {
        match tls {
            None => endpoint.connect().await.map(|channel: Channel| Bearer::default().over(channel)),
            Some((tls, bearer)) => {
                endpoint.connect_with_connector(connector(tls)).await.map(|channel| bearer.over(channel))
            }
        }
    };
    let why = match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(Ok(link)) => return Ok(link),
        Ok(Err(error)) => reason(&error),
        Err(_) => format!("no answer within {} s; is `orchestrator serve` at work there?", PATIENCE.as_secs()),
    };
    Err(Failure::Unreachable(format!("the coordinator at {url} could not be reached: {why}")))
}

/// What is at the bottom of an error, and the cure if it is not said there.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    match error.source() {
        Some(source) => reason(source),
        None if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::InvalidData) => {
            error.to_string()
        }
        None => format!("{error}; is `orchestrator serve` at work there?"),
    }
}

type Tls = (TlsConnector, Bearer);

/// An endpoint with the time limits that every client uses, and what TLS needs where the address asks for it.
fn prepare(url: &str, token: Option<&Token>) -> Outcome<(Endpoint, Option<Tls>)> {
    let wrong = || Failure::request(format!("`{url}` is not an address like http://127.0.0.1:7117"));
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let host = uri.host().ok_or_else(wrong)?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let tls = match uri.scheme_str() {
        Some("http") if is_here(&host) => None,
        Some("http") => {
            return Err(Failure::request(format!(
                "`{url}`: a coordinator on another machine is called by https://; what goes over http:// anybody on the way can read"
            )));
        }
        Some("https") => {
            let token = token.ok_or_else(|| {
                Failure::request(format!(
                    "`{url}` needs a token: set {TOKEN}, or name a file that holds it with --token-file (`orchestrator tokens show` on the coordinator's machine prints one)"
                ))
            })?;
            let name = ServerName::try_from(host).map_err(|_| wrong())?;
            Some((TlsConnector::from(pinned(token.authority, &name)?), Bearer::of(token)))
        }
        _ => return Err(wrong()),
    };
    let endpoint = Endpoint::from(uri)
        .connect_timeout(PATIENCE)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(20))
        .keep_alive_while_idle(true);
    Ok((endpoint, tls))
}

fn is_here(host: &str) -> bool {
    host.parse::<IpAddr>().map_or(host.eq_ignore_ascii_case("localhost"), |address| address.is_loopback())
}

fn connector(
    tls: TlsConnector,
) -> impl tower::Service<
    Uri,
    Response = TokioIo<tokio_rustls::client::TlsStream<TcpStream>>,
    Error = io::Error,
    Future: Send,
> + Send
+ 'static {
    tower::service_fn(move |uri: Uri| {
        let tls = tls.clone();
        async move {
            let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
            let stream = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(443))).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(host).map_err(io::Error::other)?;
            let connected = tls.connect(name, stream).await.map_err(|error| {
                let ours = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
                match ours {
                    // A sentence of ours, without what rustls puts before it.
                    Some(Error::General(sentence)) => io::Error::new(io::ErrorKind::InvalidData, sentence.clone()),
                    _ => error,
                }
            });
            Ok(TokioIo::new(connected?))
        }
    })
}

/// TLS that believes the authority of this fingerprint and no other.
fn pinned(authority: ContentHash, name: &ServerName<'_>) -> Outcome<Arc<ClientConfig>> {
    let provider = Arc::new(crypto::ring::default_provider());
    let verifier = Arc::new(Pinned { authority, provider: Arc::clone(&provider) });
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| Failure::request(format!("no TLS for {}: {error}", name.to_str())))?;
    let mut config = config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// Verifies as ever, from one authority: that of the fingerprint, which the coordinator sends along.
#[derive(Debug)]
struct Pinned {
    authority: ContentHash,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = intermediates.iter().find(|sent| ContentHash::of(sent) == self.authority).ok_or_else(|| {
            Error::General(
                "the coordinator there is not the one that gave out this token: its authority is another; \
                 take a token from `orchestrator tokens show` on its machine"
                    .into(),
            )
        })?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider)).build();
        let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now).map_err(|error| {
            match error {
                Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                ) => {
                    let name = server_name.to_str();
                    Error::General(format!(
                        "the coordinator's certificate is not for {name}: start it with `serve --host-name {name}`"
                    ))
                }
                other => other,
            }
        })
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What TLS needs for a coordinator with these credentials.
    pub(crate) fn pinned_to(credentials: &Credentials, name: &ServerName<'_>) -> Arc<ClientConfig> {
        pinned(credentials.authority().fingerprint(), name).expect("settings")
    }

    fn refused(url: &str, token: Option<&Token>) -> String {
        lazy(url, token).expect_err("refused").sentence()
    }

    #[tokio::test]
    async fn what_leaves_this_machine_needs_tls_and_a_token() {
        let token = Token { role: Role::User, secret: ContentHash::of(b"s"), authority: ContentHash::of(b"a") };
        assert!(refused("http://10.0.0.1:7117", Some(&token)).contains("is called by https://"));
        assert!(refused("https://10.0.0.1:7117", None).contains("needs a token: set ORCHESTRATOR_TOKEN"));
        assert!(refused("ftp://10.0.0.1", Some(&token)).contains("is not an address like"));
        assert!(refused("nonsense", None).contains("is not an address like"));
        for here in ["http://127.0.0.1:7117", "http://localhost:7117", "http://[::1]:7117"] {
            assert!(lazy(here, None).is_ok(), "{here}");
        }
        for there in ["https://10.0.0.1:7117", "https://[2001:db8::1]:7117", "https://lab.example:7117"] {
            assert!(lazy(there, Some(&token)).is_ok(), "{there}");
        }
    }
}
