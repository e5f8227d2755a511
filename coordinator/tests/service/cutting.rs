//! A wire that is cut after so many bytes from the caller.

use std::net::SocketAddr;

use orchestrator_proto::v1::blobs_client::BlobsClient;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tonic::transport::Channel;

/// Passes one connection on.
pub(crate) struct Cutting {
    address: SocketAddr,
}

impl Cutting {
    /// Cuts it, for both sides, once the caller has sent so many bytes.
    pub(crate) async fn after(server: &str, bytes: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let behind = server.to_owned();
        tokio::spawn(async move {
            let (caller, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(behind).await.unwrap();
            let ((mut from_caller, mut to_caller), (mut from_server, mut to_server)) =
                (caller.into_split(), server.into_split());
            let back = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_caller).await });
            let (mut buffer, mut passed) = (vec![0; 16 << 10], 0);
            while passed < bytes {
                let Ok(read @ 1..) = from_caller.read(&mut buffer).await else { return };
                to_server.write_all(&buffer[..read]).await.unwrap();
                passed += read;
            }
            back.abort();
        });
        Self { address }
    }

    pub(crate) async fn blobs(&self) -> BlobsClient<Channel> {
        BlobsClient::connect(format!("http://{}", self.address)).await.unwrap()
    }
}
