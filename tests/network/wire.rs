//! Machines that are network namespaces, and wires between them that a test can cut, make lossy or slow. Packets go through
//! this process, one device at each end, so that nothing but the kernel's namespaces and its tun device is needed.

use std::{
    fs::File,
    path::Path,
    process::Command,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tun_rs::{DeviceBuilder, SyncDevice};

/// Below that of every network, so that no packet is cut in two.
const PACKET_BYTES: u16 = 1_400;

/// Why there are no namespaces to be had here, if so.
pub(crate) fn unavailable() -> Option<&'static str> {
    static WHY: OnceLock<Option<&str>> = OnceLock::new();
    *WHY.get_or_init(probe)
}

fn probe() -> Option<&'static str> {
    let is_root = rustix::process::geteuid().is_root();
    let has_device = Path::new("/dev/net/tun").exists();
    let name = format!("orchestrator-probe-{}", std::process::id());
    if !is_root || !has_device || !ip(&["netns", "add", &name]) {
        return Some("no network namespaces here (they need root, /dev/net/tun and iproute2)");
    }
    ip(&["netns", "del", &name]);
    None
}

fn ip(args: &[&str]) -> bool {
    Command::new("ip").args(args).output().is_ok_and(|output| output.status.success())
}

/// A machine by itself, with no network but the wires that lead to it.
pub(crate) struct Machine {
    name: String,
}

impl Machine {
    pub(crate) fn new(name: &str) -> Self {
        let machine = Self { name: format!("orchestrator-{}-{name}", std::process::id()) };
        assert!(ip(&["netns", "add", &machine.name]), "a namespace {} can be made", machine.name);
        assert!(ip(&["-n", &machine.name, "link", "set", "lo", "up"]), "its loopback can be used");
        machine
    }

    /// The same command on this machine.
    pub(crate) fn on(&self, command: &Command) -> Command {
        let mut here = Command::new("ip");
        here.args(["netns", "exec", &self.name]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => here.env(key, value),
                None => here.env_remove(key),
            };
        }
        here
    }

    /// A device of this machine; packets to its network come out here.
    fn device(&self, name: &str, address: [u8; 4]) -> SyncDevice {
        let space = File::open(Path::new("/run/netns").join(&self.name)).expect("the namespace is there");
        let name = name.to_owned();
        // A thread of its own: it stays in that namespace.
        let made = thread::spawn(move || {
            use std::os::fd::AsFd;
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).expect("it can be entered");
            let address = std::net::Ipv4Addr::from(address);
            DeviceBuilder::new().name(name).ipv4(address, 24, None).mtu(PACKET_BYTES).build_sync()
        });
        made.join().expect("the thread ends").expect("a device can be made")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        ip(&["netns", "del", &self.name]);
    }
}

/// What happens to packets of one direction.
#[derive(Debug, Default)]
pub(crate) struct Way {
    cut: AtomicBool,
    loss_percent: AtomicU32,
    delay_ms: AtomicU64,
}

impl Way {
    /// Nothing comes through, or everything again.
    pub(crate) fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
    }

    /// So many of a hundred packets are lost, and the others come so much later.
    pub(crate) fn worsen(&self, loss_percent: u32, delay: Duration) {
        self.loss_percent.store(loss_percent, Ordering::Relaxed);
        self.delay_ms.store(u64::try_from(delay.as_millis()).unwrap(), Ordering::Relaxed);
    }

    fn takes(&self, number: u64) -> bool {
        let dice = splitmix(number) % 100;
        !self.cut.load(Ordering::Relaxed) && dice >= u64::from(self.loss_percent.load(Ordering::Relaxed))
    }
}

/// A wire between two machines.
pub(crate) struct Wire {
    pub(crate) there: Arc<Way>,
    pub(crate) back: Arc<Way>,
}

impl Wire {
    /// From `one`, whose address on it ends in 1, to `other`, whose address ends in 2.
    pub(crate) fn between(one: &Machine, other: &Machine, network: u8) -> Self {
        let ends = [
            Arc::new(one.device(&format!("wire{network}"), [10, 77, network, 1])),
            Arc::new(other.device(&format!("wire{network}"), [10, 77, network, 2])),
        ];
        let wire = Self { there: Arc::default(), back: Arc::default() };
        carry(Arc::clone(&ends[0]), Arc::clone(&ends[1]), Arc::clone(&wire.there), 1);
        carry(Arc::clone(&ends[1]), Arc::clone(&ends[0]), Arc::clone(&wire.back), 2);
        wire
    }

    pub(crate) fn cut(&self, cut: bool) {
        self.there.cut(cut);
        self.back.cut(cut);
    }
}

/// Carries packets until this process ends: a device that nobody reads is what a cut wire is, too.
fn carry(from: Arc<SyncDevice>, to: Arc<SyncDevice>, way: Arc<Way>, seed: u64) {
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    let carried = Arc::clone(&way);
    thread::spawn(move || {
        let mut packet = vec![0; 1 << 16];
        for number in 0_u64.. {
            let Ok(bytes) = from.recv(&mut packet) else { return };
            if carried.takes(seed << 32 | number) {
                let due = Instant::now() + Duration::from_millis(carried.delay_ms.load(Ordering::Relaxed));
                if sender.send((due, packet[..bytes].to_vec())).is_err() {
                    return;
                }
            }
        }
    });
    thread::spawn(move || {
        while let Ok((due, packet)) = receiver.recv() {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // What was under way when the wire was cut is lost, too.
            if !way.cut.load(Ordering::Relaxed) {
                let _ = to.send(&packet);
            }
        }
    });
}

fn splitmix(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
