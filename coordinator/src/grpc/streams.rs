//! Messages to one client, one after the other, as fast as it takes them. One that takes nothing is cut off: what waits for
//! it takes memory and a place that others could use.

use std::{pin::Pin, time::Duration};

use orchestrator_proto::link::Cut;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::Status;

/// What a streaming call answers.
pub(crate) type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Where the messages of one call go in.
#[derive(Debug)]
pub(crate) struct Outlet<T> {
    sender: mpsc::Sender<Result<T, Status>>,
    cut: Cut,
    stall: Duration,
}

/// An outlet and the stream that it feeds, which has the permit until the client has done with it. `ahead` messages are
/// made before the client has taken those before; when it takes none for `stall`, it is cut off.
pub(crate) fn outlet<T: Send + 'static>(
    ahead: usize,
    stall: Duration,
    cut: Option<Cut>,
    permit: OwnedSemaphorePermit,
) -> (Outlet<T>, Messages<T>) {
    let (sender, receiver) = mpsc::channel(ahead);
    let messages = ReceiverStream::new(receiver).map(move |message| {
        let _until_the_end = &permit;
        message
    });
    (Outlet { sender, cut: cut.unwrap_or_default(), stall }, Box::pin(messages))
}

impl<T> Outlet<T> {
    /// Passes a message on; false when nobody is there to take it any more.
    pub(crate) async fn pass(&self, message: Result<T, Status>) -> bool {
        let sent = timeout(self.stall, self.sender.send(message)).await;
        if sent.is_err() {
            self.cut.cut();
        }
        sent.is_ok_and(|sent| sent.is_ok())
    }

    /// The same from a thread that may wait.
    pub(crate) fn pass_waiting(&self, message: Result<T, Status>) -> bool {
        Handle::current().block_on(self.pass(message))
    }

    /// Ready when nobody is there any more.
    pub(crate) async fn closed(&self) {
        self.sender.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_cut_off_and_its_place_is_free_once_it_has_gone() {
        let places = Arc::new(Semaphore::new(1));
        let cut = Cut::default();
        let permit = Arc::clone(&places).try_acquire_owned().unwrap();
        let (outlet, mut messages) = outlet::<u8>(1, Duration::from_millis(20), Some(cut.clone()), permit);
        assert!(outlet.pass(Ok(1)).await);
        let full = outlet.pass(Ok(2)).await;
        assert!(!full, "one is on its way, the other is not taken");
        tokio::time::timeout(Duration::from_secs(5), cut.wanted()).await.expect("it is cut off");
        assert_eq!(messages.next().await.unwrap().unwrap(), 1);
        drop(outlet);
        assert!(messages.next().await.is_none());
        assert_eq!(places.available_permits(), 0);
        drop(messages);
        assert_eq!(places.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_client_that_has_gone_is_not_waited_for() {
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (outlet, messages) = outlet::<u8>(1, Duration::from_secs(5), None, permit);
        drop(messages);
        outlet.closed().await;
        assert!(!outlet.pass(Ok(1)).await);
    }
}
