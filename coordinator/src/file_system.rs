//! What kind of file system a state folder lies on. `SQLite`'s locks and its shared memory, and our own folder lock, hold
//! between the processes of one machine; over a network they do not, and two coordinators would write one database.

use std::{io, path::Path};

/// Name of the network file system that a folder lies on; none where it is on this machine.
pub(crate) fn network_file_system(folder: &Path) -> io::Result<Option<&'static str>> {
    let found = rustix::fs::statfs(folder)?;
    #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "magic numbers have 32 bits")]
    let magic = found.f_type as u32;
    Ok(name_of(magic))
}

/// By the magic numbers of `statfs(2)`.
fn name_of(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517b | 0xfe53_4d42 => "SMB",
        0xff53_4d42 => "CIFS",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x00c3_6400 => "Ceph",
        0x0102_1997 => "9P",
        0x0bd0_0bd0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x1983_0326 => "BeeGFS",
        0x0161_1970 => "GFS2",
        0x7461_636f => "OCFS2",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_of_a_network_are_told_from_local_ones() {
        for (magic, name) in [
            (0x6969, Some("NFS")),
            (0xff53_4d42, Some("CIFS")),
            (0x0bd0_0bd0, Some("Lustre")),
            // ext4, XFS, Btrfs, tmpfs, ZFS, overlay.
            (0xef53, None),
            (0x5846_5342, None),
            (0x9123_683e, None),
            (0x0102_1994, None),
            (0x2fc1_2fc1, None),
            (0x794c_7630, None),
        ] {
            assert_eq!(name_of(magic), name, "{magic:#x}");
        }
        assert_eq!(network_file_system(&std::env::temp_dir()).unwrap(), None);
        assert!(network_file_system(Path::new("/no/such/folder")).is_err());
    }
}
