//! The kernel's addresses and links over rtnetlink; the only file that names the crate.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::{
    Error, Handle, LinkDummy, LinkUnspec, MulticastGroup,
    packet_route::{
        address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol},
        link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    },
};
use tokio::sync::mpsc;

use super::plan::{Found, OwnLink};

/// Our mark on an address (`IFA_PROTO`): the G of GeoDNS. The kernel takes any value above 3.
const MARK: u8 = 0x47;

/// Says on an interface that we made it.
const ALIAS: &str = "meridian service addresses";

/// A connection to rtnetlink.
pub(super) struct Kernel {
    handle: Handle,
}

/// Everything that was looked at.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) link: Option<(OwnLink, bool)>,
    pub(super) found: Vec<Found>,
    pub(super) names: BTreeMap<u32, String>,
}

impl View {
    pub(super) fn local(&self) -> BTreeSet<IpAddr> {
        self.found.iter().map(|f| f.address).collect()
    }
}

/// What the kernel refused, in words.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub(super) struct Refused {
    what: String,
    why: String,
}

fn refused(what: impl Into<String>) -> impl FnOnce(Error) -> Refused {
    |error| Refused {
        what: what.into(),
        why: match &error {
            Error::NetlinkError(message) => message.to_io().to_string(),
            other => other.to_string(),
        },
    }
}

impl Kernel {
    pub(super) fn open() -> std::io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Looks at all links and addresses; `name` is the interface for service addresses.
    pub(super) async fn look(&self, name: Option<&str>) -> Result<View, Refused> {
        let mut view = View::default();
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await.map_err(refused("reading links"))? {
            let index = link.header.index;
            let Some(link_name) = link_name(&link) else {
                continue;
            };
            if Some(link_name.as_str()) == name {
                let own = OwnLink {
                    index,
                    made: is_made(&link),
                };
                view.link = Some((own, link.header.flags.contains(LinkFlags::Up)));
            }
            view.names.insert(index, link_name);
        }
        let mut addresses = self.handle.address().get().execute();
        while let Some(message) = addresses
            .try_next()
            .await
            .map_err(refused("reading addresses"))?
        {
            view.found.extend(found(&message));
        }
        Ok(view)
    }

    /// Makes a dummy interface that says whose it is.
    pub(super) async fn make_link(&self, name: &str) -> Result<(), Refused> {
        let what = format!("making the dummy interface {name}");
        let link = LinkDummy::new(name).up().build();
        let added = self.handle.link().add(link).execute().await;
        added.map_err(refused(what.clone()))?;
        // The alias is taken only of a link that exists.
        let alias = LinkUnspec::new_with_name(name).alias(ALIAS).build();
        let named = self.handle.link().set(alias).execute().await;
        named.map_err(refused(what))
    }

    pub(super) async fn raise_link(&self, index: u32) -> Result<(), Refused> {
        let up = LinkUnspec::new_with_index(index).up().build();
        let set = self.handle.link().set(up).execute().await;
        set.map_err(refused("setting the interface up"))
    }

    pub(super) async fn remove_link(&self, index: u32) -> Result<(), Refused> {
        let deleted = self.handle.link().del(index).execute().await;
        deleted.map_err(refused("removing the interface"))
    }

    pub(super) async fn add(&self, link: u32, address: IpAddr) -> Result<(), Refused> {
        let len = if address.is_ipv4() { 32 } else { 128 };
        let mut request = self.handle.address().add(link, address, len);
        let attributes = &mut request.message_mut().attributes;
        attributes.push(AddressAttribute::Protocol(AddressProtocol::from(MARK)));
        if address.is_ipv6() {
            let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
            attributes.push(AddressAttribute::Flags(flags));
        }
        match request.execute().await {
            // It is there already: the next look tells whose it is.
            Err(Error::NetlinkError(e)) if e.raw_code() == -libc::EEXIST => Ok(()),
            other => other.map_err(refused(format!("adding {address}"))),
        }
    }

    pub(super) async fn remove(&self, found: &Found) -> Result<(), Refused> {
        let Found {
            address,
            prefix_len,
            link,
            ..
        } = *found;
        let mut message = self.handle.address().add(link, address, prefix_len);
        let message = message.message_mut().clone();
        match self.handle.address().del(message).execute().await {
            // It is gone already.
            Err(Error::NetlinkError(e)) if e.raw_code() == -libc::EADDRNOTAVAIL => Ok(()),
            other => other.map_err(refused(format!("removing {address}"))),
        }
    }
}

/// Tells that links or addresses have changed, through a second socket. The channel ends with it.
pub(super) fn monitor() -> std::io::Result<mpsc::Receiver<()>> {
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
    ];
    let (connection, handle, mut messages) = rtnetlink::new_multicast_connection(&groups)?;
    tokio::spawn(connection);
    // One place: a change that waits to be looked at stands for all that follow.
    let (sender, changes) = mpsc::channel(1);
    tokio::spawn(async move {
        let _kept_open = handle;
        loop {
            tokio::select! {
                message = messages.next() => {
                    if message.is_none() {
                        return;
                    }
                    let _ = sender.try_send(());
                }
                () = sender.closed() => return,
            }
        }
    });
    Ok(changes)
}

fn link_name(link: &LinkMessage) -> Option<String> {
    link.attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        })
}

fn is_made(link: &LinkMessage) -> bool {
    let (mut dummy, mut named) = (false, false);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::LinkInfo(infos) => {
                dummy |= infos.contains(&LinkInfo::Kind(InfoKind::Dummy));
            }
            LinkAttribute::IfAlias(alias) => named |= alias == ALIAS,
            _ => {}
        }
    }
    dummy && named
}

fn found(message: &AddressMessage) -> Option<Found> {
    let (mut address, mut local, mut marked, mut duplicate) = (None, None, false, false);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(value) => address = Some(*value),
            AddressAttribute::Local(value) => local = Some(*value),
            AddressAttribute::Protocol(protocol) => marked = u8::from(*protocol) == MARK,
            AddressAttribute::Flags(flags) => duplicate = flags.contains(AddressFlags::Dadfailed),
            _ => {}
        }
    }
    Some(Found {
        // On a point-to-point link IFA_ADDRESS is the other end's.
        address: local.or(address)?,
        prefix_len: message.header.prefix_len,
        link: message.header.index,
        marked,
        duplicate,
    })
}
