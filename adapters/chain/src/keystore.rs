//! Keys in encrypted files: Web3 secret storage version 3, readable by every Ethereum wallet, mode 0600.
//!
//! Deriving the file key takes a good part of a second by design: call from a thread that may block.

use std::fmt;
use std::path::{Path, PathBuf};

use aes::cipher::{KeyIvInit, StreamCipher};
use alloy::primitives::keccak256;
use alloy::signers::local::{LocalSignerError, PrivateKeySigner};
use rand::TryRngCore;
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};
use sublet_base::Address;
use sublet_daemon::{FileError, create_private, read_secret};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::wallet::Wallet;

const MAX_NAME: usize = 64;
const MAX_FILE: usize = 16 << 10;
const MAX_LOG_N: u32 = 20;
const MAX_MEMORY: u64 = 1 << 30;

/// How dear guessing a passphrase is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// 128 MiB and about half a second a guess. For every key that may ever hold something.
    Standard,
    /// 4 MiB and some milliseconds. Only for throw-away keys of a local development network.
    LocalNetwork,
}

impl Cost {
    fn log_n(self) -> u8 {
        match self {
            Self::Standard => 17,
            Self::LocalNetwork => 12,
        }
    }
}

/// What encrypts a key. Wiped when dropped; never printed.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// Takes the bytes as they are.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads a file that only its owner may read; one line end at the end is not part of the passphrase.
    ///
    /// # Errors
    /// [`KeystoreError::File`] if it cannot be read or others could read it, [`KeystoreError::EmptyPassphrase`].
    pub fn from_file(path: &Path) -> Result<Self, KeystoreError> {
        let content = read_secret(path)?;
        let text = content.strip_suffix(b"\n").unwrap_or(&content);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.is_empty() {
            return Err(KeystoreError::EmptyPassphrase { path: path.to_owned() });
        }
        Ok(Self::new(text.to_vec()))
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// A key's file, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    /// The name it was given.
    pub name: String,
    /// Its account, as the file claims; certain once loaded.
    pub address: Address,
    /// The file.
    pub path: PathBuf,
}

/// Why a key could not be made, stored or loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// A file could not be read or written, or others could read it.
    #[error("the keystore cannot be used")]
    File(#[from] FileError),
    /// The folder could not be listed.
    #[error("cannot list {}", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Text that cannot name a key.
    #[error("`{0}` cannot name an account: use 1 to 64 of a-z, 0-9, - and _, a letter or digit first")]
    BadName(String),
    /// The name is taken.
    #[error("there is an account `{0}` already")]
    Exists(String),
    /// No key has this name or address.
    #[error("there is no account `{name}` in {}", folder.display())]
    Unknown {
        /// What was looked for.
        name: String,
        /// Where.
        folder: PathBuf,
    },
    /// The passphrase does not open the file.
    #[error("wrong passphrase for account `{0}`")]
    WrongPassphrase(String),
    /// The passphrase's file is empty.
    #[error("the passphrase in {} is empty", path.display())]
    EmptyPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// Not a keystore file, or one with unreasonable parameters.
    #[error("{} is not a usable key file: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The system has no randomness.
    #[error("the system gives no random numbers")]
    NoRandomness(#[source] rand::rand_core::OsError),
    /// The cipher does not take its parameters.
    #[error("cannot encrypt the key: {0}")]
    Cipher(String),
}

/// A folder of key files, `NAME.json` each.
#[derive(Clone, Debug)]
pub struct Keystore {
    folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct KeyFile {
    version: u32,
    id: String,
    #[serde(default)]
    address: Option<String>,
    #[serde(alias = "Crypto")]
    crypto: Crypto,
}

#[derive(Serialize, Deserialize)]
struct Crypto {
    cipher: String,
    cipherparams: CipherParams,
    ciphertext: String,
    kdf: String,
    kdfparams: KdfParams,
    mac: String,
}

#[derive(Serialize, Deserialize)]
struct CipherParams {
    iv: String,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum KdfParams {
    Scrypt { dklen: u32, n: u32, r: u32, p: u32, salt: String },
    Pbkdf2 { dklen: u32, c: u32, prf: String, salt: String },
}

impl Keystore {
    /// The keystore in this folder; nothing is touched until a key is stored.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Makes and stores a new random key.
    ///
    /// # Errors
    /// [`KeystoreError::Exists`], [`KeystoreError::BadName`], [`KeystoreError::File`].
    pub fn create(&self, name: &str, passphrase: &Passphrase, cost: Cost) -> Result<Wallet, KeystoreError> {
        let wallet = Wallet::random();
        self.import(name, &wallet, passphrase, cost)?;
        Ok(wallet)
    }

    /// Stores a key.
    ///
    /// # Errors
    /// As [`Keystore::create`].
    pub fn import(
        &self,
        name: &str,
        wallet: &Wallet,
        passphrase: &Passphrase,
        cost: Cost,
    ) -> Result<KeyInfo, KeystoreError> {
        let path = self.path(name)?;
        // Before the key derivation, which takes a while.
        if path.exists() {
            return Err(KeystoreError::Exists(name.to_owned()));
        }
        let file = encrypt(wallet, passphrase, cost)?;
        let text = serde_json::to_vec_pretty(&file).map_err(|error| damaged(&path, &error.to_string()))?;
        match create_private(&path, &text) {
            Err(error) if error.is_taken() => return Err(KeystoreError::Exists(name.to_owned())),
            written => written?,
        }
        Ok(KeyInfo { name: name.to_owned(), address: wallet.address(), path })
    }

    /// Every key, by name.
    ///
    /// # Errors
    /// [`KeystoreError::List`], or [`KeystoreError::Damaged`] for a file that is none.
    pub fn list(&self) -> Result<Vec<KeyInfo>, KeystoreError> {
        let failed = |source| KeystoreError::List { path: self.folder.clone(), source };
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed)?,
        };
        let mut keys = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default().to_owned();
            if path.extension().is_some_and(|e| e == "json") && self.path(&stem).is_ok() {
                let file = read(&path)?;
                let address = file.address.as_deref().and_then(|a| a.parse().ok());
                let address = address.ok_or_else(|| damaged(&path, "it names no address"))?;
                keys.push(KeyInfo { name: stem, address, path });
            }
        }
        keys.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(keys)
    }

    /// Opens the key with this name or address.
    ///
    /// # Errors
    /// [`KeystoreError::Unknown`], [`KeystoreError::WrongPassphrase`], [`KeystoreError::Damaged`], [`KeystoreError::File`].
    pub fn load(&self, name: &str, passphrase: &Passphrase) -> Result<Wallet, KeystoreError> {
        let unknown = || KeystoreError::Unknown { name: name.chars().take(80).collect(), folder: self.folder.clone() };
        let path = match name.parse::<Address>() {
            Ok(address) => self.list()?.into_iter().find(|key| key.address == address).ok_or_else(unknown)?.path,
            Err(_) => self.path(name)?,
        };
        let file = match read(&path) {
            Err(KeystoreError::File(error)) if error.is_missing() => return Err(unknown()),
            other => other?,
        };
        file.check(&path)?;
        let signer =
            PrivateKeySigner::decrypt_keystore(&path, passphrase.0.as_slice()).map_err(|error| match error {
                LocalSignerError::EthKeystoreError(inner) if inner.to_string().to_lowercase().contains("mac") => {
                    KeystoreError::WrongPassphrase(name.to_owned())
                }
                other => damaged(&path, &other.to_string()),
            })?;
        let claimed = file.address.as_deref().and_then(|a| a.parse::<Address>().ok());
        if claimed.is_some_and(|address| address != signer.address()) {
            return Err(damaged(&path, "its key belongs to another address than it says"));
        }
        Ok(Wallet::from(signer))
    }

    fn path(&self, name: &str) -> Result<PathBuf, KeystoreError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if name.is_empty() || name.starts_with(['-', '_']) || name.len() > MAX_NAME || !name.bytes().all(allowed) {
            return Err(KeystoreError::BadName(name.chars().take(80).collect()));
        }
        Ok(self.folder.join(format!("{name}.json")))
    }
}

impl KeyFile {
    /// Refuses parameters that would crash or exhaust us: a key file may come from anywhere.
    fn check(&self, path: &Path) -> Result<(), KeystoreError> {
        let hex_of = |text: &str, length: usize| text.trim_start_matches("0x").len() == 2 * length;
        let problem = match &self.crypto.kdfparams {
            _ if self.version != 3 => "its version is not 3",
            _ if self.crypto.cipher != "aes-128-ctr" => "its cipher is not aes-128-ctr",
            _ if !hex_of(&self.crypto.cipherparams.iv, 16) => "its initial vector has not 16 bytes",
            _ if !hex_of(&self.crypto.ciphertext, 32) => "its key has not 32 bytes",
            KdfParams::Scrypt { dklen, n, r, p, .. } => {
                let memory = 128 * u64::from(*n) * u64::from(*r);
                let fits = n.is_power_of_two() && *n > 1 && n.ilog2() <= MAX_LOG_N && memory <= MAX_MEMORY;
                if fits && (1..=16).contains(p) && *r > 0 && *dklen == 32 {
                    return Ok(());
                }
                "its scrypt parameters are out of range"
            }
            KdfParams::Pbkdf2 { dklen, c, .. } if *dklen == 32 && (1..=20_000_000).contains(c) => return Ok(()),
            KdfParams::Pbkdf2 { .. } => "its pbkdf2 parameters are out of range",
        };
        Err(damaged(path, problem))
    }
}

fn read(path: &Path) -> Result<KeyFile, KeystoreError> {
    let content = read_secret(path)?;
    if content.len() > MAX_FILE {
        return Err(damaged(path, "it is too long"));
    }
    serde_json::from_slice(&content).map_err(|error| damaged(path, &error.to_string()))
}

fn damaged(path: &Path, problem: &str) -> KeystoreError {
    KeystoreError::Damaged { path: path.to_owned(), problem: problem.to_owned() }
}

fn random<const N: usize>() -> Result<[u8; N], KeystoreError> {
    let mut bytes = [0; N];
    OsRng.try_fill_bytes(&mut bytes).map_err(KeystoreError::NoRandomness)?;
    Ok(bytes)
}

/// scrypt, then AES-128-CTR with the first half of the derived key, then keccak256 over the second half and the ciphertext.
fn encrypt(wallet: &Wallet, passphrase: &Passphrase, cost: Cost) -> Result<KeyFile, KeystoreError> {
    let (salt, iv) = (random::<32>()?, random::<16>()?);
    let (n, r, p) = (cost.log_n(), 8, 1);
    let params = scrypt::Params::new(n, r, p).map_err(|error| KeystoreError::Cipher(error.to_string()))?;
    let mut key = Zeroizing::new([0u8; 32]);
    scrypt::scrypt(&passphrase.0, &salt, &params, key.as_mut_slice())
        .map_err(|error| KeystoreError::Cipher(error.to_string()))?;
    let mut text = wallet.secret();
    let cipher = ctr::Ctr128BE::<aes::Aes128>::new_from_slices(&key[..16], &iv);
    cipher.map_err(|error| KeystoreError::Cipher(error.to_string()))?.apply_keystream(text.as_mut_slice());
    let mac = keccak256([&key[16..], text.as_slice()].concat());
    Ok(KeyFile {
        version: 3,
        id: uuid::Uuid::new_v4().to_string(),
        address: Some(alloy::hex::encode(wallet.address())),
        crypto: Crypto {
            cipher: "aes-128-ctr".to_owned(),
            cipherparams: CipherParams { iv: alloy::hex::encode(iv) },
            ciphertext: alloy::hex::encode(text.as_slice()),
            kdf: "scrypt".to_owned(),
            kdfparams: KdfParams::Scrypt { dklen: 32, n: 1 << n, r, p, salt: alloy::hex::encode(salt) },
            mac: alloy::hex::encode(mac),
        },
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use sublet_daemon::write_private;

    use super::*;

    fn secret(text: &str) -> Passphrase {
        Passphrase::new(text.as_bytes().to_vec())
    }

    #[test]
    fn a_key_comes_back_with_its_passphrase_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = Keystore::new(folder.path().join("keys"));
        let made = keys.create("alice", &secret("correct"), Cost::LocalNetwork).expect("a key");
        let wrong = keys.load("alice", &secret("wrong")).expect_err("a wrong passphrase");
        assert_eq!(wrong.to_string(), "wrong passphrase for account `alice`");
        assert_eq!(keys.load("alice", &secret("correct")).expect("the key").address(), made.address());
        assert_eq!(
            keys.load(&made.address().to_string(), &secret("correct")).expect("by address").address(),
            made.address()
        );
        let listed = keys.list().expect("a list");
        assert_eq!((listed.len(), listed[0].name.as_str(), listed[0].address), (1, "alice", made.address()));
        let mode = listed[0].path.metadata().expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read_to_string(&listed[0].path).expect("the file");
        assert!(!text.contains(&alloy::hex::encode(made.secret().as_slice())), "the key lies open");
        assert!(!format!("{made:?}{:?}", secret("correct")).contains("correct"));
    }

    #[test]
    fn of_all_who_make_an_account_at_once_one_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = Keystore::new(folder.path());
        let make = || keys.create("a", &secret("x"), Cost::LocalNetwork);
        let made: Vec<_> = std::thread::scope(|threads| {
            let makers: Vec<_> = (0..4).map(|_| threads.spawn(make)).collect();
            makers.into_iter().map(|maker| maker.join().expect("no panic")).collect()
        });
        let (made, others): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
        assert!(others.iter().all(|other| matches!(other, Err(KeystoreError::Exists(_)))), "{others:?}");
        let made: Vec<_> = made.into_iter().flatten().map(|wallet| wallet.address()).collect();
        assert_eq!(made, [keys.load("a", &secret("x")).expect("it opens").address()]);
    }

    #[test]
    fn names_are_taken_once_and_stay_in_the_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = Keystore::new(folder.path());
        keys.create("a", &secret("x"), Cost::LocalNetwork).expect("a key");
        assert!(matches!(keys.create("a", &secret("x"), Cost::LocalNetwork), Err(KeystoreError::Exists(_))));
        for bad in ["", "../a", "A", "a/b", ".a", "-x", &"a".repeat(65)] {
            assert!(
                matches!(keys.create(bad, &secret("x"), Cost::LocalNetwork), Err(KeystoreError::BadName(_))),
                "{bad:?}"
            );
        }
        assert!(matches!(keys.load("b", &secret("x")), Err(KeystoreError::Unknown { .. })));
    }

    #[test]
    fn the_standard_example_of_the_format_loads() {
        // The pbkdf2 vector of the Web3 Secret Storage Definition.
        let folder = tempfile::tempdir().expect("a folder");
        let file = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},
            "ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46","kdf":"pbkdf2","kdfparams":{"c":262144,
            "dklen":32,"prf":"hmac-sha256","salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},
            "mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},"id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;
        write_private(&folder.path().join("old.json"), file.as_bytes()).expect("written");
        let wallet = Keystore::new(folder.path()).load("old", &secret("testpassword")).expect("the key");
        assert_eq!(
            wallet.secret().as_slice(),
            alloy::hex!("7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d")
        );
    }

    #[test]
    fn unreasonable_parameters_are_refused_before_any_work() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = Keystore::new(folder.path());
        keys.create("a", &secret("x"), Cost::LocalNetwork).expect("a key");
        let path = folder.path().join("a.json");
        let good = std::fs::read_to_string(&path).expect("the file");
        for (from, to) in [
            ("\"n\": 4096", "\"n\": 2147483648"),
            ("\"n\": 4096", "\"n\": 4097"),
            ("\"dklen\": 32", "\"dklen\": 16"),
            ("\"version\": 3", "\"version\": 2"),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good, "{from} is not in the file");
            write_private(&path, bad.as_bytes()).expect("written");
            assert!(
                matches!(keys.load("a", &secret("x")), Err(KeystoreError::Damaged { .. })),
                "{to} should be refused"
            );
        }
    }
}
