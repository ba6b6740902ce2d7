//! The messages of SCRAM (RFC 5802) as Kafka's `ScramMessages` takes them: without channel binding, in one pass.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;

/// The client's first message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFirst {
    /// `n,,` or `n,a=AUTHZID,`
    pub gs2_header: String,
    pub authorization_id: String,
    pub user: String,
    pub nonce: String,
    /// The user is a delegation token's id (KIP-48).
    pub is_token: bool,
    /// What the proof is about.
    pub bare: String,
}

/// The client's last message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFinal {
    pub channel_binding: Vec<u8>,
    pub nonce: String,
    pub proof: Vec<u8>,
    pub without_proof: String,
}

impl ClientFirst {
    pub(crate) fn read(token: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(token).ok()?;
        let rest = text.strip_prefix("n,")?;
        let (authorization_id, bare) = rest.split_once(',')?;
        let gs2_header = text[..text.len() - bare.len()].to_owned();
        let authorization_id = match authorization_id {
            "" => String::new(),
            named => sasl_name(named.strip_prefix("a=")?)?,
        };
        let mut parts = bare.split(',').peekable();
        if let Some(reserved) = parts.next_if(|part| part.starts_with("m=")) {
            value(reserved.strip_prefix("m=")?)?;
        }
        let user = sasl_name(parts.next()?.strip_prefix("n=")?)?;
        let nonce = nonce(parts.next()?)?;
        let mut is_token = false;
        for extension in parts {
            let (name, value) = extension_of(extension)?;
            is_token |= name == "tokenauth" && value.eq_ignore_ascii_case("true");
        }
        Some(Self {
            gs2_header,
            authorization_id,
            user,
            nonce,
            is_token,
            bare: bare.to_owned(),
        })
    }
}

impl ClientFinal {
    pub(crate) fn read(token: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(token).ok()?;
        let (without_proof, proof) = text.rsplit_once(",p=")?;
        let mut parts = without_proof.split(',');
        let channel_binding = base64(parts.next()?.strip_prefix("c=")?)?;
        let nonce = nonce(parts.next()?)?;
        for extension in parts {
            extension_of(extension)?;
        }
        Some(Self {
            channel_binding,
            nonce,
            proof: base64(proof)?,
            without_proof: without_proof.to_owned(),
        })
    }
}

/// What the broker answers first.
pub(super) fn server_first(nonce: &str, salt: &[u8], iterations: i32) -> String {
    format!("r={nonce},s={},i={iterations}", BASE64.encode(salt))
}

/// What the broker answers last: it knows the password's verifier, too.
pub(super) fn server_final(signature: &[u8]) -> String {
    format!("v={}", BASE64.encode(signature))
}

fn base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// A name in which `=2C` is a comma and `=3D` an equals sign.
fn sasl_name(text: &str) -> Option<String> {
    let mut parts = text.split('=');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (escaped, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return None,
        };
        name.push(escaped);
        name.push_str(rest);
    }
    let is_there = !name.is_empty() && !name.contains('\0');
    is_there.then_some(name)
}

/// Printable ASCII without a comma.
fn nonce(part: &str) -> Option<String> {
    let nonce = part.strip_prefix("r=")?;
    let is_printable = !nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_graphic());
    is_printable.then(|| nonce.to_owned())
}

fn value(text: &str) -> Option<&str> {
    (!text.is_empty() && !text.contains('\0')).then_some(text)
}

fn extension_of(part: &str) -> Option<(&str, &str)> {
    let (name, text) = part.split_once('=')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic());
    is_name.then_some((name, value(text)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_message_names_a_user_and_a_nonce() {
        let read = |text: &str| {
            let first = ClientFirst::read(text.as_bytes())?;
            Some((first.user, first.authorization_id, first.is_token))
        };
        let user = |user: &str, other: &str, token| Some((user.into(), other.into(), token));
        for (text, expected) in [
            ("n,,n=user,r=abc", user("user", "", false)),
            ("n,a=other,n=user,r=abc", user("user", "other", false)),
            ("n,a=o=2Cx,n=a=2Cb=3Dc,r=abc", user("a,b=c", "o,x", false)),
            ("n,,m=ext,n=user,r=abc", user("user", "", false)),
            (
                "n,,n=gr\u{f6}\u{df}e,r=abc",
                user("gr\u{f6}\u{df}e", "", false),
            ),
            ("n,,n=id,r=abc,tokenauth=true", user("id", "", true)),
            ("n,,n=id,r=abc,x=y,tokenauth=TRUE", user("id", "", true)),
            ("n,,n=id,r=abc,tokenauth=false", user("id", "", false)),
            ("y,,n=user,r=abc", None),
            ("p=tls-unique,,n=user,r=abc", None),
            ("n,b=x,n=user,r=abc", None),
            ("n,,n=,r=abc", None),
            ("n,,n=a=b,r=abc", None),
            ("n,,n=a=2c,r=abc", None),
            ("n,,n=a\0,r=abc", None),
            ("n,,n=user,r=", None),
            ("n,,n=user,r=a b", None),
            ("n,,n=user,r=abc,", None),
            ("n,,n=user,r=abc,=x", None),
            ("n,,n=user,r=abc,1=x", None),
            ("n,,r=abc,n=user", None),
            ("n,,n=user", None),
            ("n,", None),
            ("", None),
        ] {
            assert_eq!(read(text), expected, "{text:?}");
        }
        assert_eq!(ClientFirst::read(b"n,,n=\xff,r=abc"), None);
    }

    #[test]
    fn a_last_message_has_a_proof_behind_everything_else() {
        let read = |text: &str| ClientFinal::read(text.as_bytes());
        let read_final = read("c=biws,r=abc,p=AQID").expect("read");
        assert_eq!(read_final.channel_binding, b"n,,");
        assert_eq!(read_final.nonce, "abc");
        assert_eq!(read_final.proof, [1, 2, 3]);
        assert_eq!(read_final.without_proof, "c=biws,r=abc");
        let extended = read("c=biws,r=abc,x=y,p=AQID").expect("read");
        assert_eq!(extended.without_proof, "c=biws,r=abc,x=y");
        for text in [
            "",
            "c=biws,r=abc",
            "c=biws,r=abc,p=AQI",
            "c=biw,r=abc,p=AQID",
            "c=biws,r=,p=AQID",
            "r=abc,c=biws,p=AQID",
            "c=biws,r=abc,p=AQID,x=y",
            "c=biws,r=abc,1=y,p=AQID",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
