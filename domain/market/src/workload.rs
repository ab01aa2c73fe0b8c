//! What an agreement is about, in full: a [`MachineRequest`] for a lease, a [`JobDocument`] for a job.
//!
//! Off chain as canonical JSON, on chain as its keccak256 in the order. Whoever gets the bytes checks them against the
//! hash, then with `check`: the other side is a stranger.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use semver::Version;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sublet_base::{B256, Digest, MachineId, Seconds};
use thiserror::Error;

use crate::canonical::{self, CanonicalError};
use crate::text::{self, BadText};
use crate::{Class, Resources};

const MAX_KEYS: usize = 32;
const MAX_KEY_LENGTH: usize = 4096;
const MAX_ARGUMENTS: usize = 256;
const MAX_ARGUMENT: usize = 16 << 10;
const MAX_VARIABLES: usize = 64;
const KEY_TYPES: [&str; 6] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "ssh-rsa",
];

/// An image: a name for people, and the digest that is run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRef {
    /// `debian-12`, or a registry reference.
    pub name: String,
    /// Digest of the OCI manifest.
    pub digest: Digest,
}

/// What a machine may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Nothing; it is reached over the link only.
    None,
}

/// The machine a renter wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineRequest {
    /// Host name inside the machine.
    pub name: MachineId,
    /// Root file system.
    pub image: ImageRef,
    /// Limits; the agreement's offer must cover them.
    pub resources: Resources,
    /// Lines of `authorized_keys`: a type, a key, an optional comment; no options.
    pub ssh_keys: Vec<String>,
    /// What it may reach.
    pub network: Network,
}

/// Which module a job was rendered from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleRef {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
}

/// A job, rendered: everything that decides its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobDocument {
    /// Where it came from.
    pub module: ModuleRef,
    /// Root file system.
    pub image: ImageRef,
    /// Program and arguments, exactly as executed; no shell.
    pub argv: Vec<String>,
    /// Environment, exactly as executed.
    pub env: BTreeMap<String, String>,
    /// The inputs it was rendered from, for people.
    pub inputs: BTreeMap<String, String>,
    /// Limits; the agreement's offer must cover them.
    pub resources: Resources,
    /// How its result is checked.
    pub class: Class,
    /// It is stopped after this; at most the order's duration.
    pub timeout: Seconds,
}

/// Why a request or a job is refused.
#[derive(Debug, Error)]
pub enum BadWorkload {
    /// The bytes are not the ones the agreement is about.
    #[error("the document hashes to {got}, the agreement is about {expected}")]
    OtherHash {
        /// On chain.
        expected: B256,
        /// What was handed over.
        got: B256,
    },
    /// Not canonical, too long, unknown fields.
    #[error("the document cannot be read")]
    Canonical(#[from] CanonicalError),
    /// A text field.
    #[error("`{field}` {why}")]
    Text {
        /// Which.
        field: String,
        /// What is wrong with it.
        why: BadText,
    },
    /// Too few or too many of something.
    #[error("`{field}` has {count} entries; between {min} and {max} are allowed")]
    Count {
        /// Which.
        field: &'static str,
        /// How many.
        count: usize,
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// Bigger than agreed.
    #[error("it asks for {asked}; the agreement gives {agreed}")]
    TooBig {
        /// In the document.
        asked: Resources,
        /// In the offer.
        agreed: Resources,
    },
    /// Runs longer than agreed.
    #[error("its timeout is {asked}; the agreement lasts {agreed}")]
    TooLong {
        /// In the document.
        asked: Seconds,
        /// In the order.
        agreed: Seconds,
    },
    /// A size that makes no machine.
    #[error("`{0}` must not be zero")]
    Zero(&'static str),
}

/// A document whose hash is an order's `workload`.
pub trait WorkloadDocument: Serialize + DeserializeOwned {
    /// Refuses what no provider should act on.
    ///
    /// # Errors
    /// [`BadWorkload`], the first reason found.
    fn check(&self) -> Result<(), BadWorkload>;

    /// Canonical bytes and their hash, once `check` passes.
    ///
    /// # Errors
    /// [`BadWorkload`].
    fn seal(&self) -> Result<(Vec<u8>, B256), BadWorkload> {
        self.check()?;
        let bytes = canonical::to_bytes(self)?;
        let hash = canonical::hash(&bytes);
        Ok((bytes, hash))
    }

    /// Reads and checks bytes that must hash to `expected`.
    ///
    /// # Errors
    /// [`BadWorkload`].
    fn open(bytes: &[u8], expected: B256) -> Result<Self, BadWorkload> {
        let got = canonical::hash(bytes);
        if got != expected {
            return Err(BadWorkload::OtherHash { expected, got });
        }
        let document: Self = canonical::from_bytes(bytes)?;
        document.check()?;
        Ok(document)
    }
}

impl WorkloadDocument for MachineRequest {
    fn check(&self) -> Result<(), BadWorkload> {
        check_image(&self.image)?;
        check_size(&self.resources)?;
        count("ssh_keys", self.ssh_keys.len(), 1, MAX_KEYS)?;
        for (position, key) in self.ssh_keys.iter().enumerate() {
            check_ssh_key(key).map_err(|why| BadWorkload::Text { field: format!("ssh_keys[{position}]"), why })?;
        }
        Ok(())
    }
}

impl WorkloadDocument for JobDocument {
    fn check(&self) -> Result<(), BadWorkload> {
        let field = |name: String| move |why| BadWorkload::Text { field: name, why };
        text::name(&self.module.name).map_err(field("module.name".into()))?;
        check_image(&self.image)?;
        check_size(&self.resources)?;
        if self.timeout.0 == 0 {
            return Err(BadWorkload::Zero("timeout"));
        }
        count("argv", self.argv.len(), 1, MAX_ARGUMENTS)?;
        for (position, argument) in self.argv.iter().enumerate() {
            text::plain(argument, MAX_ARGUMENT, &['\n', '\t']).map_err(field(format!("argv[{position}]")))?;
        }
        if self.argv[0].is_empty() {
            return Err(field("argv[0]".into())(BadText::Empty));
        }
        count("env", self.env.len(), 0, MAX_VARIABLES)?;
        for (name, value) in &self.env {
            check_variable(name).map_err(field("env".into()))?;
            text::plain(value, MAX_ARGUMENT, &['\n', '\t']).map_err(field(format!("env.{name}")))?;
        }
        count("inputs", self.inputs.len(), 0, MAX_VARIABLES)?;
        for (name, value) in &self.inputs {
            text::name(name).map_err(field("inputs".into()))?;
            text::plain(value, MAX_ARGUMENT, &['\n', '\t']).map_err(field(format!("inputs.{name}")))?;
        }
        Ok(())
    }
}

impl MachineRequest {
    /// Refuses a request the agreement does not cover.
    ///
    /// # Errors
    /// [`BadWorkload::TooBig`].
    pub fn within(&self, agreed: &Resources) -> Result<(), BadWorkload> {
        within(&self.resources, agreed)
    }
}

impl JobDocument {
    /// Refuses a job the agreement does not cover.
    ///
    /// # Errors
    /// [`BadWorkload::TooBig`], [`BadWorkload::TooLong`].
    pub fn within(&self, agreed: &Resources, duration: Seconds) -> Result<(), BadWorkload> {
        if self.timeout > duration {
            return Err(BadWorkload::TooLong { asked: self.timeout, agreed: duration });
        }
        within(&self.resources, agreed)
    }
}

fn within(asked: &Resources, agreed: &Resources) -> Result<(), BadWorkload> {
    if agreed.covers(asked) { Ok(()) } else { Err(BadWorkload::TooBig { asked: *asked, agreed: *agreed }) }
}

fn count(field: &'static str, count: usize, min: usize, max: usize) -> Result<(), BadWorkload> {
    if (min..=max).contains(&count) { Ok(()) } else { Err(BadWorkload::Count { field, count, min, max }) }
}

fn check_size(resources: &Resources) -> Result<(), BadWorkload> {
    if resources.vcpus.0 == 0 {
        return Err(BadWorkload::Zero("resources.vcpus"));
    }
    if resources.memory.0 == 0 { Err(BadWorkload::Zero("resources.memory_mib")) } else { Ok(()) }
}

/// An image's name is shown to people and looked up by hosts: printable, no spaces, no way out of a folder.
fn check_image(image: &ImageRef) -> Result<(), BadWorkload> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_./:@".contains(&b);
    let bytes = image.name.as_bytes();
    let good = (1..=255).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|&b| allowed(b))
        && !image.name.contains("..");
    if good {
        Ok(())
    } else {
        let why = BadText::Form("an image's name of letters, digits and - _ . / : @");
        Err(BadWorkload::Text { field: "image.name".into(), why })
    }
}

fn check_variable(name: &str) -> Result<(), BadText> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    match name.as_bytes() {
        [first, rest @ ..]
            if !first.is_ascii_digit() && inner(*first) && rest.len() < 128 && rest.iter().all(|&b| inner(b)) =>
        {
            Ok(())
        }
        _ => Err(BadText::Form("a variable's name of letters, digits and _")),
    }
}

/// A public key line without options: `command=` and the like would run in the machine before anybody logs in.
fn check_ssh_key(line: &str) -> Result<(), BadText> {
    text::plain(line, MAX_KEY_LENGTH, &[])?;
    let form = BadText::Form("a public ssh key: a type such as ssh-ed25519, the key in base64, an optional comment");
    let mut words = line.splitn(3, ' ');
    let (Some(kind), Some(key)) = (words.next(), words.next()) else {
        return Err(form);
    };
    let blob = BASE64.decode(key.as_bytes()).map_err(|_| form.clone())?;
    let named = blob.get(4..4 + kind.len()) == Some(kind.as_bytes())
        && blob.get(..4) == Some((kind.len() as u32).to_be_bytes().as_slice());
    if KEY_TYPES.contains(&kind) && named && blob.len() > 4 + kind.len() { Ok(()) } else { Err(form) }
}

#[cfg(test)]
mod tests {
    use sublet_base::{GiB, MiB, Vcpus};

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGdhcmJhZ2VnYXJiYWdlZ2FyYmFnZWdhcmJhZ2Vn me@laptop";

    fn request() -> MachineRequest {
        MachineRequest {
            name: "web1".parse().expect("a name"),
            image: ImageRef { name: "debian-12".into(), digest: Digest([1; 32]) },
            resources: Resources { vcpus: Vcpus(1), memory: MiB(512), disk: GiB(4), ..Resources::default() },
            ssh_keys: vec![KEY.into()],
            network: Network::None,
        }
    }

    #[test]
    fn a_sealed_request_opens_only_with_its_own_hash() {
        let (bytes, hash) = request().seal().expect("seals");
        assert!(bytes.starts_with(b"{\"image\":{\"digest\":\"sha256:0101"));
        assert_eq!(MachineRequest::open(&bytes, hash).expect("opens"), request());
        let other = MachineRequest::open(&bytes, B256::repeat_byte(1));
        assert!(matches!(other, Err(BadWorkload::OtherHash { .. })));
        let spaced = [b" ", bytes.as_slice()].concat();
        let padded = MachineRequest::open(&spaced, canonical::hash(&spaced));
        assert!(matches!(padded, Err(BadWorkload::Canonical(_))));
    }

    #[test]
    fn keys_with_options_or_line_breaks_are_refused() {
        let long = format!("{KEY}{}", "x".repeat(5000));
        let bad = [
            "",
            "ssh-ed25519",
            "command=\"reboot\" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGdhcmJhZ2VnYXJiYWdlZ2FyYmFnZWdhcmJhZ2Vn",
            "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIGdhcmJhZ2VnYXJiYWdlZ2FyYmFnZWdhcmJhZ2Vn",
            "ssh-ed25519 AAAA\nssh-ed25519 AAAA",
            "ssh-ed25519 ????",
            long.as_str(),
        ];
        for line in bad {
            let broken = MachineRequest { ssh_keys: vec![line.into()], ..request() };
            assert!(broken.check().is_err(), "{line:?} should be refused");
        }
        assert!(MachineRequest { ssh_keys: vec![], ..request() }.check().is_err());
        assert!(MachineRequest { ssh_keys: vec![KEY.into(); 33], ..request() }.check().is_err());
    }

    #[test]
    fn image_names_cannot_leave_a_folder_or_hide() {
        for name in ["", "../etc", "a b", "/abs", "x\u{1b}", "-rf"] {
            let image = ImageRef { name: name.into(), ..request().image };
            assert!(MachineRequest { image, ..request() }.check().is_err(), "{name:?} should be refused");
        }
    }

    #[test]
    fn nobody_gets_more_than_agreed() {
        let agreed = request().resources;
        assert!(request().within(&agreed).is_ok());
        let mut greedy = request();
        greedy.resources.memory = MiB(513);
        let error = greedy.within(&agreed).expect_err("too big").to_string();
        assert_eq!(error, "it asks for 1 vCPU, 513 MiB, 4 GiB disk; the agreement gives 1 vCPU, 512 MiB, 4 GiB disk");
    }
}
