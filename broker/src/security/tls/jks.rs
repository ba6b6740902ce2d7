//! Java's own keystore format, which keytool wrote until Java 8 and people still have. The format is that of OpenJDK's
//! `sun.security.provider.JavaKeyStore` and `KeyProtector`.
//!
//! A file is a magic number, the version, entries, and a SHA-1 over the password and all of it. A private key is hidden under
//! a keystream of SHA-1 of password and salt. That protects little; who can read the file should be somebody who may.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, Digest, SHA1_FOR_LEGACY_USE_ONLY};
use x509_parser::asn1_rs::{FromDer as _, OctetString, Sequence};
use x509_parser::x509::AlgorithmIdentifier;

use super::stores::StoreError;

const MAGIC: u32 = 0xfeed_feed;
const DIGEST_BYTES: usize = 20;
/// Every store is signed with it; the text is part of the format.
const WHITENER: &[u8] = b"Mighty Aphrodite";
/// How Java's own key protection is called.
const KEY_PROTECTOR: &str = "1.3.6.1.4.1.42.2.17.1.1";

/// What a store holds. Certificates are DER.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub keys: Vec<KeyEntry>,
    pub trusted: Vec<Vec<u8>>,
}

/// A private key, still hidden, and its chain.
#[derive(Debug)]
pub(super) struct KeyEntry {
    pub encrypted: Vec<u8>,
    pub chain: Vec<Vec<u8>>,
}

/// Reads a store. Without a password nobody can tell whether it was changed.
pub(super) fn read(file: &[u8], password: Option<&str>) -> Result<Store, StoreError> {
    let cut = || StoreError::Malformed("it ends too early".to_owned());
    let signed = file.len().checked_sub(DIGEST_BYTES).ok_or_else(cut)?;
    let (body, digest) = file.split_at(signed);
    if let Some(password) = password {
        let expected = sha1(&[&utf16(password), WHITENER, body]);
        let equal = verify_slices_are_equal(expected.as_ref(), digest);
        equal.map_err(|_| StoreError::Password)?;
    }
    let mut body = Reader(body);
    let version = match (body.u32(), body.u32()) {
        (Some(MAGIC), Some(version @ (1 | 2))) => version,
        _ => return Err(StoreError::UnknownFormat),
    };
    let entries = body.u32().ok_or_else(cut)?;
    let mut store = Store::default();
    for _ in 0..entries {
        read_entry(&mut body, version, &mut store).ok_or_else(cut)?;
    }
    Ok(store)
}

/// `None`: it ends too early, or is of no known kind.
fn read_entry(body: &mut Reader<'_>, version: u32, store: &mut Store) -> Option<()> {
    let kind = body.u32()?;
    let _alias = body.text()?;
    let _created = body.take(8)?;
    match kind {
        1 => {
            let encrypted = body.bytes()?.to_vec();
            let count = body.u32()?;
            let mut chain = Vec::new();
            for _ in 0..count {
                chain.push(read_certificate(body, version)?);
            }
            store.keys.push(KeyEntry { encrypted, chain });
        }
        2 => store.trusted.push(read_certificate(body, version)?),
        _ => return None,
    }
    Some(())
}

fn read_certificate(body: &mut Reader<'_>, version: u32) -> Option<Vec<u8>> {
    if version == 2 {
        let _kind = body.text()?;
    }
    Some(body.bytes()?.to_vec())
}

/// Takes the cover off a private key, which is PKCS#8 then.
pub(super) fn open_key(encrypted: &[u8], password: &str) -> Result<Vec<u8>, StoreError> {
    let hidden = hidden_key(encrypted).ok_or(StoreError::KeyEncryption)?;
    let (Some((salt, rest)), password) =
        (hidden.split_first_chunk::<DIGEST_BYTES>(), utf16(password))
    else {
        return Err(StoreError::KeyEncryption);
    };
    let Some((hidden, check)) = rest.split_last_chunk::<DIGEST_BYTES>() else {
        return Err(StoreError::KeyEncryption);
    };
    let mut key = Vec::with_capacity(hidden.len());
    let mut stream = sha1(&[&password, salt]);
    for part in hidden.chunks(DIGEST_BYTES) {
        key.extend(
            part.iter()
                .zip(stream.as_ref())
                .map(|(hidden, stream)| hidden ^ stream),
        );
        stream = sha1(&[&password, stream.as_ref()]);
    }
    let expected = sha1(&[&password, &key]);
    let equal = verify_slices_are_equal(expected.as_ref(), check);
    equal.map_err(|_| StoreError::KeyPassword)?;
    Ok(key)
}

/// The bytes of an `EncryptedPrivateKeyInfo` of Java's own kind.
fn hidden_key(encrypted: &[u8]) -> Option<Vec<u8>> {
    let (_, info) = Sequence::from_der(encrypted).ok()?;
    let (rest, algorithm) = AlgorithmIdentifier::from_der(&info.content).ok()?;
    let (_, hidden) = OctetString::from_der(rest).ok()?;
    let is_javas = algorithm.algorithm.to_id_string() == KEY_PROTECTOR;
    is_javas.then(|| hidden.as_ref().to_vec())
}

/// A password as Java's `char`s.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

fn sha1(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for part in parts {
        context.update(part);
    }
    context.finish()
}

/// Bytes that are left.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.u32()?).ok()?;
        self.take(count)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let count = u16::from_be_bytes(self.take(2)?.try_into().ok()?);
        self.take(count.into())
    }
}
