//! The network between a worker and the coordinator: a proxy in this process that passes their bytes on, or late, or not.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
};

/// Between two tries to reach a coordinator that is away.
const AGAIN: Duration = Duration::from_millis(100);
/// Bytes passed on at a time.
const PART: usize = 16 << 10;

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    Fine,
    /// Nothing comes through and nobody is told: to the coordinator, to the worker, or either way.
    Cut {
        outward: bool,
        inward: bool,
    },
    /// Connections break, and new ones are refused.
    Refused,
    /// One part after the other comes so much later, so that little comes through as well.
    Slow(Duration),
}

impl Weather {
    fn passes(self, outward: bool) -> bool {
        !matches!(self, Self::Cut { outward: true, .. } if outward)
            && !matches!(self, Self::Cut { inward: true, .. } if !outward)
    }
}

/// One worker's way to the coordinator. Gone with the value.
#[derive(Debug)]
pub(super) struct Line {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    /// Parts that were held up, and connections that were broken.
    hindered: Arc<AtomicU64>,
    task: AbortHandle,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Line {
    /// A line to an address where somebody may listen now, later, or now and then. Where nobody does, nobody does here.
    pub(super) fn lay(coordinator: SocketAddr) -> io::Result<Self> {
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = free.local_addr()?;
        let (weather, seen) = watch::channel(Weather::Fine);
        let hindered = Arc::default();
        let way = Way { weather: seen, hindered: Arc::clone(&hindered) };
        let task = tokio::spawn(keep(address, coordinator, way)).abort_handle();
        Ok(Self { address, weather, hindered, task })
    }

    /// Where the worker calls.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often it has hindered what was said over it.
    pub(super) fn hindered(&self) -> u64 {
        self.hindered.load(Ordering::Relaxed)
    }

    pub(super) fn is_fine(&self) -> bool {
        *self.weather.borrow() == Weather::Fine
    }

    pub(super) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

/// What each part of a line sees and counts.
#[derive(Clone)]
struct Way {
    weather: watch::Receiver<Weather>,
    hindered: Arc<AtomicU64>,
}

impl Way {
    /// Waits until the weather is so; for ever when nobody makes it any more.
    async fn until(&mut self, is_so: impl FnMut(&Weather) -> bool) -> Weather {
        match self.weather.wait_for(is_so).await.map(|now| *now) {
            Ok(now) => now,
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until something comes through this way.
    async fn open(&mut self, outward: bool) -> Weather {
        if !self.weather.borrow().passes(outward) {
            self.note();
        }
        self.until(|now| now.passes(outward)).await
    }

    fn note(&self) {
        self.hindered.fetch_add(1, Ordering::Relaxed);
    }
}

/// Listens while somebody listens at the other end.
async fn keep(address: SocketAddr, coordinator: SocketAddr, mut way: Way) {
    let mut passing = JoinSet::new();
    loop {
        way.until(|now| *now != Weather::Refused).await;
        let (Ok(_), Ok(listener)) = (TcpStream::connect(coordinator).await, TcpListener::bind(address).await) else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = way.until(|now| *now == Weather::Refused) => break,
            };
            let Ok((worker, _)) = accepted else {
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            let Ok(there) = TcpStream::connect(coordinator).await else { break };
            passing.spawn(pass(worker, there, way.clone()));
            while passing.try_join_next().is_some() {}
        }
    }
}

/// Passes on what two ends say to one another, until both have said all or connections break.
async fn pass(worker: TcpStream, coordinator: TcpStream, mut way: Way) {
    // Small requests are not to wait for one another.
    if worker.set_nodelay(true).and(coordinator.set_nodelay(true)).is_err() {
        return;
    }
    let (from_worker, to_worker) = worker.into_split();
    let (from_coordinator, to_coordinator) = coordinator.into_split();
    let outward = pump(from_worker, to_coordinator, way.clone(), true);
    let inward = pump(from_coordinator, to_worker, way.clone(), false);
    // Whoever breaks off does so for both.
    let both = async { tokio::try_join!(outward, inward) };
    tokio::select! {
        _ = both => {}
        _ = way.until(|now| *now == Weather::Refused) => way.note(),
    }
}

/// One way of a connection. While it is cut what was said waits, and comes when it is healed, as what TCP sends again
/// does.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut way: Way,
    outward: bool,
) -> io::Result<()> {
    let mut part = vec![0; PART];
    loop {
        let read = from.read(&mut part).await;
        // It may have been cut, or have slowed down, while nothing was said; that an end is gone is news as well.
        if let Weather::Slow(by) = way.open(outward).await {
            way.note();
            tokio::time::sleep(by).await;
        }
        let read = read?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&part[..read]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long beside what a loopback takes.
    const SILENCE: Duration = Duration::from_millis(300);
    const LIMIT: Duration = Duration::from_secs(20);

    /// Somebody who says back what is said to them, at an address of their own.
    async fn echo(address: SocketAddr) -> (SocketAddr, AbortHandle) {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut talks = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                talks.spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    drop(tokio::io::copy(&mut from, &mut to).await);
                });
            }
        });
        (address, serving.abort_handle())
    }

    async fn call(line: &Line) -> TcpStream {
        let began = std::time::Instant::now();
        loop {
            if let Ok(stream) = TcpStream::connect(line.address).await {
                return stream;
            }
            assert!(began.elapsed() < LIMIT, "nobody listens");
            tokio::time::sleep(AGAIN / 10).await;
        }
    }

    /// What comes back of a word, if it comes within this time.
    async fn said(stream: &mut TcpStream, word: &[u8], within: Duration) -> Option<io::Result<()>> {
        let talk = async {
            let mut back = vec![0; word.len()];
            stream.write_all(word).await?;
            stream.read_exact(&mut back).await?;
            assert_eq!(back, word);
            Ok(())
        };
        tokio::time::timeout(within, talk).await.ok()
    }

    fn anywhere() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    #[tokio::test]
    async fn what_is_cut_comes_when_it_is_healed() {
        let (address, _there) = echo(anywhere()).await;
        let line = Line::lay(address).unwrap();
        let mut stream = call(&line).await;
        said(&mut stream, b"fine", LIMIT).await.unwrap().unwrap();
        for (outward, inward) in [(true, true), (true, false), (false, true)] {
            line.set(Weather::Cut { outward, inward });
            assert!(!line.is_fine());
            assert!(said(&mut stream, b"lost?", SILENCE).await.is_none(), "out {outward}, in {inward}");
            line.set(Weather::Fine);
            let mut late = [0; 5];
            tokio::time::timeout(LIMIT, stream.read_exact(&mut late)).await.unwrap().unwrap();
            assert_eq!(&late, b"lost?");
        }
        assert_eq!(line.hindered(), 3, "once a word");
        line.set(Weather::Slow(SILENCE));
        let began = std::time::Instant::now();
        said(&mut stream, b"slow", LIMIT).await.unwrap().unwrap();
        assert!(began.elapsed() >= 2 * SILENCE, "both ways");
    }

    #[tokio::test]
    async fn what_is_refused_breaks_and_is_there_again_later() {
        let (address, _there) = echo(anywhere()).await;
        let line = Line::lay(address).unwrap();
        let mut stream = call(&line).await;
        said(&mut stream, b"fine", LIMIT).await.unwrap().unwrap();
        line.set(Weather::Refused);
        assert!(said(&mut stream, b"broken", LIMIT).await.unwrap().is_err());
        assert_eq!(line.hindered(), 1);
        while TcpStream::connect(line.address).await.is_ok() {
            tokio::time::sleep(AGAIN / 10).await;
        }
        line.set(Weather::Fine);
        said(&mut call(&line).await, b"fine", LIMIT).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn nobody_listens_here_while_nobody_listens_there() {
        let (address, there) = echo(anywhere()).await;
        let line = Line::lay(address).unwrap();
        said(&mut call(&line).await, b"fine", LIMIT).await.unwrap().unwrap();
        there.abort();
        // The first to call finds it out for the others.
        while TcpStream::connect(line.address).await.is_ok() {
            tokio::time::sleep(AGAIN / 10).await;
        }
        let (_, _there) = echo(address).await;
        said(&mut call(&line).await, b"fine", LIMIT).await.unwrap().unwrap();
    }
}
