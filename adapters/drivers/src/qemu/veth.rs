//! The same network without `/dev/net/tun`, which many computers keep closed to users: a pair of Ethernet devices, one end
//! set up as the tap would be, the other read and written by the [`carrier`](super::carrier) between it and QEMU.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use super::interface;

/// Our end.
const NAME: &str = "tap0";
/// The guest's end.
const PEER: &str = "vm0";

// From linux/if_link.h, linux/veth.h and linux/if_packet.h; libc lacks them.
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const PACKET_IGNORE_OUTGOING: i32 = 23;
// From linux/ethtool.h: what a sender may leave to the device. Nobody here is a device.
const OFFLOADS: [u32; 3] = [ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO];
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_STSO: u32 = 0x1f;
const ETHTOOL_SGSO: u32 = 0x24;

/// Makes the pair in the current network namespace and hands out the guest's end, frame by frame. It goes with the
/// namespace.
///
/// # Errors
/// The system's: `PermissionDenied` without rights over the namespace, `Unsupported` if the kernel has no such devices.
pub(super) fn make() -> io::Result<OwnedFd> {
    create_pair()?;
    // The kernel leaves checksums and long segments to the device; a frame that is handed on as it is must be whole.
    for offload in OFFLOADS {
        switch_off(offload)?;
    }
    interface::set_up(NAME)?;
    interface::raise(PEER)?;
    frames(interface::index(PEER)?)
}

/// Asks for both devices in one netlink message and waits for the answer.
fn create_pair() -> io::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    send(netlink.as_raw_fd(), &new_pair(), MsgFlags::empty())?;
    let mut answer = [0; 4096];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    match error_of(&answer[..length]) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is none")),
    }
}

/// `RTM_NEWLINK` for a pair of the two names.
fn new_pair() -> Vec<u8> {
    let link = [0; size_of::<libc::ifinfomsg>()];
    let peer = [link.to_vec(), attribute(libc::IFLA_IFNAME, &name(PEER))].concat();
    let data = attribute(VETH_INFO_PEER, &peer);
    let info = [attribute(IFLA_INFO_KIND, b"veth"), attribute(IFLA_INFO_DATA, &data)].concat();
    let body =
        [link.to_vec(), attribute(libc::IFLA_IFNAME, &name(NAME)), attribute(libc::IFLA_LINKINFO, &info)].concat();
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
    let length = (size_of::<libc::nlmsghdr>() + body.len()) as u32;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(libc::RTM_NEWLINK.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // A number and a sender, of which there is one each.
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// A length, a kind, the content, and zeroes up to a multiple of four.
fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
    let length = 4 + content.len();
    let mut bytes = (length as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(content);
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}

fn name(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

/// What `NLMSG_ERROR` says: 0 or a negative error number.
fn error_of(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let code = i32::from_ne_bytes(answer.get(16..20)?.try_into().ok()?);
    (i32::from(kind) == libc::NLMSG_ERROR).then_some(code)
}

fn switch_off(offload: u32) -> io::Result<()> {
    let mut value = [offload, 0];
    let mut request = interface::request(NAME)?;
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    let socket = interface::any_socket()?;
    // SAFETY: the descriptor is open, and the call reads the two numbers, which live until it returns.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as libc::c_ulong, &mut request) })?;
    Ok(())
}

/// A socket on which every frame that arrives at the interface is read, and whatever is written leaves it.
fn frames(index: i32) -> io::Result<OwnedFd> {
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: takes no pointers; the descriptor is nobody else's.
    let socket = unsafe {
        let number = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, i32::from(protocol));
        OwnedFd::from_raw_fd(Errno::result(number)?)
    };
    let one: libc::c_int = 1;
    // SAFETY: an all-zero address is valid; both calls read as many bytes as they are told there are.
    unsafe {
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = index;
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        Errno::result(libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length))?;
        let (level, value) = (libc::SOL_PACKET, (&raw const one).cast());
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        Errno::result(libc::setsockopt(socket.as_raw_fd(), level, PACKET_IGNORE_OUTGOING, value, length))?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use nix::sched::{CloneFlags, unshare};

    use super::*;

    #[test]
    fn a_message_is_as_long_as_it_says() {
        let message = new_pair();
        assert_eq!(message[..4], (message.len() as u32).to_ne_bytes());
        assert_eq!(attribute(7, b"abc"), [&7u16.to_ne_bytes()[..], &7u16.to_ne_bytes(), b"abc\0"].concat());
        assert_eq!(error_of(&[]), None);
    }

    /// Root, or a user who may make namespaces.
    #[test]
    fn a_pair_carries_frames_both_ways() {
        // A thread of its own goes into a namespace of its own, and ends there.
        let thread = std::thread::spawn(|| -> io::Result<()> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let guest = make()?;
            let address = (interface::GUEST, 9);
            interface::any_socket()?.send_to(b"hello", address)?;
            let mut frame = [0; 2048];
            // The kernel asks who has the guest's address; nobody answers, and that is enough.
            loop {
                let length = recv(guest.as_raw_fd(), &mut frame, MsgFlags::empty())?;
                let (kind, question) = (&frame[12..14], &frame[38..42]);
                if length >= 42 && kind == [8, 6] && question == interface::GUEST.octets() {
                    return Ok(());
                }
            }
        });
        if nix::unistd::geteuid().is_root() {
            thread.join().expect("no panic").expect("carried");
        }
    }
}
