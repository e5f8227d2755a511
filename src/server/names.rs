//! What a coordinator is called by: the names and addresses that its certificate is for.

use std::net::{IpAddr, SocketAddr};

/// Most names in a certificate: a machine with more addresses names those that are used.
const MOST: usize = 100;

/// Names and addresses of a coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    named: Vec<String>,
    addresses: Vec<IpAddr>,
    host: String,
    port: u16,
}

impl Names {
    /// Of a coordinator that listens on this address of this machine; `named` are told by its owner.
    pub(crate) fn of(listen: SocketAddr, named: &[String]) -> Self {
        let addresses = if listen.ip().is_unspecified() {
            let all = if_addrs::get_if_addrs().unwrap_or_default();
            // Addresses of one link lead nowhere without its name.
            let all = all.into_iter().map(|interface| interface.ip()).filter(|ip| !is_of_link(*ip));
            all.filter(|ip| listen.is_ipv6() || ip.is_ipv4()).collect()
        } else {
            vec![listen.ip()]
        };
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { named: named.to_vec(), addresses, host, port: listen.port() }
    }

    /// All of them, each once.
    pub(crate) fn all(&self) -> Vec<String> {
        let fixed = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let addresses = self.addresses.iter().map(IpAddr::to_string);
        let host = is_host_name(&self.host).then(|| self.host.clone());
        let mut all = Vec::new();
        for name in self.named.iter().cloned().chain(fixed).chain(host).chain(addresses) {
            if !all.contains(&name) && all.len() < MOST {
                all.push(name);
            }
        }
        all
    }

    /// The address for other machines: a name that was told, else an address that leads here from them, if there is one.
    pub(crate) fn url(&self) -> String {
        let reachable = self.addresses.iter().find(|ip| !ip.is_loopback()).or(self.addresses.first());
        let host = match (self.named.first(), reachable) {
            (Some(name), _) => match name.parse::<IpAddr>() {
                Ok(IpAddr::V6(v6)) => format!("[{v6}]"),
                _ => name.clone(),
            },
            (None, Some(IpAddr::V6(v6))) => format!("[{v6}]"),
            (None, Some(v4)) => v4.to_string(),
            (None, None) => self.host.clone(),
        };
        format!("https://{host}:{}", self.port)
    }
}

fn is_of_link(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Whether a certificate can be for this name.
pub(crate) fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(named: &[&str], addresses: &[&str]) -> Names {
        Names {
            named: named.iter().map(|name| (*name).to_owned()).collect(),
            addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
            host: "head".into(),
            port: 7117,
        }
    }

    #[test]
    fn the_address_for_others_is_what_was_told_or_leads_here() {
        assert_eq!(names(&["lab.example"], &["10.0.0.1"]).url(), "https://lab.example:7117");
        assert_eq!(names(&[], &["127.0.0.1", "10.0.0.1"]).url(), "https://10.0.0.1:7117");
        assert_eq!(names(&[], &["2001:db8::1"]).url(), "https://[2001:db8::1]:7117");
        assert_eq!(names(&["2001:db8::2"], &[]).url(), "https://[2001:db8::2]:7117");
        assert_eq!(names(&[], &["127.0.0.1"]).url(), "https://127.0.0.1:7117");
        assert_eq!(names(&[], &[]).url(), "https://head:7117");
    }

    #[test]
    fn a_certificate_is_for_each_name_once_and_for_this_machine_always() {
        let all = names(&["lab.example", "localhost"], &["127.0.0.1", "10.0.0.1"]).all();
        assert_eq!(all, ["lab.example", "localhost", "127.0.0.1", "::1", "head", "10.0.0.1"]);
        let here = Names::of("0.0.0.0:1".parse().unwrap(), &[]);
        assert!(here.addresses.iter().all(IpAddr::is_ipv4) && here.addresses.len() < MOST);
    }

    #[test]
    fn host_names_are_told_from_what_is_none() {
        for (name, is_one) in
            [("a", true), ("lab-1.example.org", true), ("", false), ("a..b", false), ("-a", false), ("a b", false)]
        {
            assert_eq!(is_host_name(name), is_one, "{name}");
        }
    }
}
