//! Becoming an unprivileged user once the sockets are bound.

use std::{
    path::Path,
    process::{Child, Command},
};

use caps::{CapSet, Capability, CapsHashSet};
use meridian_config::{Bgp, ServiceInterface};
use nix::unistd::{self, Uid, User};

/// Why the user could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// No such account.
    #[error("server.user: there is no user {0:?} on this machine; create it or remove the key")]
    NoSuchUser(String),
    /// The system said no.
    #[error("server.user: cannot become {user:?}: {step}: {source}")]
    Refused {
        /// The account.
        user: String,
        /// What was tried.
        step: &'static str,
        /// What the system said.
        source: nix::Error,
    },
    /// A capability that is needed later cannot be kept.
    #[error("server.user: cannot keep capabilities: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
}

/// What a site still needs once it is unprivileged: addresses on an interface, and ports below 1024
/// for sessions and BFD.
pub fn needed(bgp: Option<&Bgp>) -> CapsHashSet {
    let mut needed = CapsHashSet::new();
    let Some(bgp) = bgp.filter(|bgp| !bgp.dry_run) else {
        return needed;
    };
    if bgp.interface != ServiceInterface::None {
        needed.insert(Capability::CAP_NET_ADMIN);
    }
    let bfd = bgp.peers.iter().any(|peer| peer.bfd.is_some());
    if bfd || (1..1024).contains(&bgp.listen_port) {
        needed.insert(Capability::CAP_NET_BIND_SERVICE);
    }
    needed
}

/// Lets no program that is started from now on inherit capabilities, whoever gave them to this one.
/// Call it before there are other threads.
pub fn keep_to_ourselves() {
    // Without any there is nothing to keep.
    let _ = caps::clear(None, CapSet::Ambient);
    let _ = caps::clear(None, CapSet::Inheritable);
}

/// Starts a program that keeps the capabilities of the calling thread, as a program of its own would
/// lose them.
///
/// # Errors
/// As the system says.
pub fn launch(program: &mut Command) -> std::io::Result<Child> {
    let ours = caps::read(None, CapSet::Permitted).unwrap_or_default();
    let root = Uid::effective().is_root();
    if !root && !ours.is_empty() {
        let pass = || {
            caps::set(None, CapSet::Inheritable, &ours)?;
            caps::set(None, CapSet::Ambient, &ours)
        };
        pass().map_err(std::io::Error::other)?;
    }
    let child = program.spawn();
    if !root && !ours.is_empty() {
        // Nothing else that is started from here may have them.
        let _ = caps::clear(None, CapSet::Ambient);
        let _ = caps::clear(None, CapSet::Inheritable);
    }
    child
}

/// Gives `state_directory` to `user` and becomes that user; does nothing when not root or when
/// already that user. Groups first, user last: after the user is changed nothing else is allowed.
///
/// # Errors
/// When the account is unknown or a step is refused. Running on as root would be worse than
/// stopping, so callers must stop.
///
/// The calling thread, and those that it starts from then on, keep the capabilities of `keep`; no
/// other thread does.
pub fn become_user(
    user: &str,
    state_directory: &Path,
    keep: &CapsHashSet,
) -> Result<(), PrivilegeError> {
    let refused = |step| {
        move |source| PrivilegeError::Refused {
            user: user.to_owned(),
            step,
            source,
        }
    };
    let account = User::from_name(user)
        .map_err(refused("looking it up"))?
        .ok_or_else(|| PrivilegeError::NoSuchUser(user.to_owned()))?;
    if account.uid == Uid::effective() {
        return Ok(());
    }
    if !Uid::effective().is_root() {
        tracing::warn!(
            user,
            "server.user is ignored: only root can become another user"
        );
        return Ok(());
    }
    give(state_directory, &account).map_err(refused("giving it the state directory"))?;
    if !keep.is_empty() {
        caps::securebits::set_keepcaps(true)?;
    }
    unistd::setgroups(&[account.gid]).map_err(refused("leaving root's groups"))?;
    unistd::setgid(account.gid).map_err(refused("changing the group"))?;
    unistd::setuid(account.uid).map_err(refused("changing the user"))?;
    if !keep.is_empty() {
        // What is kept of the permitted set is all of root's: the rest goes now.
        caps::set(None, CapSet::Effective, keep)?;
        caps::set(None, CapSet::Permitted, keep)?;
        caps::securebits::set_keepcaps(false)?;
    }
    tracing::info!(user, uid = account.uid.as_raw(), kept = ?keep, "running unprivileged");
    Ok(())
}

/// The folder and everything in it: files that an earlier run as root left must stay writable.
fn give(path: &Path, account: &User) -> nix::Result<()> {
    unistd::fchownat(
        nix::fcntl::AT_FDCWD,
        path,
        Some(account.uid),
        Some(account.gid),
        nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW,
    )?;
    // Links are given away as links and never followed out of the folder.
    let is_folder = std::fs::symlink_metadata(path).is_ok_and(|m| m.is_dir());
    if is_folder && let Ok(entries) = std::fs::read_dir(path) {
        for entry in entries.flatten() {
            give(&entry.path(), account)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_site_needs_is_kept() {
        let text = |more: &str| {
            format!(
                "[[pop]]\nname = \"fra\"\nlatitude = 1\nlongitude = 1\n\
                 endpoints = [\"192.0.2.1\"]\n[[zone]]\nname = \"example.com\"\nfile = \"z\"\n\
                 [bgp]\nsite = \"fra\"\nlocal_as = 1\nrouter_id = \"192.0.2.1\"\n{more}\n\
                 [[bgp.peer]]\nname = \"a\"\naddress = \"192.0.2.2\"\nremote_as = 2\n\
                 [[bgp.announce]]\nprefix = \"198.51.100.1/32\"\n"
            )
        };
        let kept = |more| {
            let config = meridian_config::parse(&text(more), Path::new("m.toml")).unwrap();
            let mut kept: Vec<_> = needed(config.bgp.as_ref()).into_iter().collect();
            kept.sort_unstable_by_key(|one| *one as u8);
            kept
        };
        let (admin, bind) = (Capability::CAP_NET_ADMIN, Capability::CAP_NET_BIND_SERVICE);
        assert_eq!(kept("interface = \"lo\""), [bind, admin]);
        assert_eq!(kept(""), [bind]);
        assert_eq!(kept("listen_port = 0"), []);
        assert_eq!(kept("interface = \"lo\"\ndry_run = true"), []);
        assert!(needed(None).is_empty());
    }

    #[test]
    fn an_unknown_user_is_named_with_the_remedy() {
        let none = CapsHashSet::new();
        let error = become_user("no-such-user-here", Path::new("/nonexistent"), &none).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("no-such-user-here") && text.contains("create it"),
            "{text}"
        );
    }

    #[test]
    fn the_same_user_changes_nothing() {
        let me = User::from_uid(Uid::effective()).unwrap().unwrap();
        assert!(become_user(&me.name, Path::new("/nonexistent"), &CapsHashSet::new()).is_ok());
    }
}
