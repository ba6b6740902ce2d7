//! A message is written down as Kafka's definition of it: each field with its type and the versions that have it.

/// Makes a struct of a message, or of a part of one, and codes it in every version that its API has.
///
/// `name / with_name: Type [versions, rules] = default`. Rules are Kafka's: `ignorable`, a version that does not have the
/// field leaves it out even if it is set; `tag(N)`, it is a tagged one.
macro_rules! structure {
    (
        $(#[$attribute:meta])*
        $name:ident {
            $(
                $field:ident / $with:ident: $type:ty
                [$versions:expr $(, $rule:ident $(($tag:literal))?)*] $(= $default:expr)?;
            )*
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $(pub $field: $type,)*
            pub unknown_tagged_fields: BTreeMap<i32, Bytes>,
        }

        impl $name {
            $(
                /// Sets the field.
                pub fn $with(mut self, value: $type) -> Self {
                    self.$field = value;
                    self
                }
            )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: message::default_of!($($default)?),)*
                    unknown_tagged_fields: BTreeMap::new(),
                }
            }
        }

        impl Wire for $name {
            fn read<B: ByteBuf>(input: &mut B, form: Form) -> Result<Self> {
                let mut message = Self::default();
                $(
                    let rules = Rules::new()$(.$rule($($tag)?))*;
                    if rules.is_plain() && ($versions).contains(&form.version) {
                        message.$field = Wire::read(input, form)?;
                    }
                )*
                let tagged = if form.flexible { wire::read_uvarint(input)? } else { 0 };
                for _ in 0..tagged {
                    let tag = wire::read_uvarint(input)?;
                    let length = wire::read_uvarint(input)? as usize;
                    $(
                        let rules = Rules::new()$(.$rule($($tag)?))*;
                        if rules.is_tagged(tag) && ($versions).contains(&form.version) {
                            message.$field = Wire::read(input, form)?;
                            continue;
                        }
                    )*
                    let payload = input.try_get_bytes(length)?;
                    message.unknown_tagged_fields.insert(tag as i32, payload);
                }
                Ok(message)
            }

            fn write<B: ByteBufMut>(&self, out: &mut B, form: Form) -> Result<()> {
                $(
                    let rules = Rules::new()$(.$rule($($tag)?))*;
                    if rules.is_plain() && ($versions).contains(&form.version) {
                        self.$field.write(out, form)?;
                    }
                )*
                let tagged = self.tagged(form)?;
                if form.flexible {
                    wire::write_uvarint(out, wire::length32(tagged.len())?);
                    for (tag, payload) in tagged {
                        wire::write_uvarint(out, tag);
                        wire::write_uvarint(out, wire::length32(payload.len())?);
                        out.put_slice(&payload);
                    }
                }
                Ok(())
            }

            fn width(&self, form: Form) -> Result<usize> {
                let mut width = 0;
                $(
                    let rules = Rules::new()$(.$rule($($tag)?))*;
                    if rules.is_plain() && ($versions).contains(&form.version) {
                        width += self.$field.width(form)?;
                    }
                )*
                if form.flexible {
                    let tagged = self.tagged(form)?;
                    width += wire::uvarint_width(wire::length32(tagged.len())?);
                    for (tag, payload) in &tagged {
                        width += wire::tagged_width(*tag, payload)?;
                    }
                }
                Ok(width)
            }
        }

        impl $name {
            /// The tagged fields that are to be sent, encoded.
            ///
            /// # Errors
            /// A field is set that the version does not have and that is not ignorable.
            fn tagged(&self, form: Form) -> Result<Vec<(u32, Bytes)>> {
                let mut tagged = Vec::new();
                $(
                    let rules = Rules::new()$(.$rule($($tag)?))*;
                    let default: $type = message::default_of!($($default)?);
                    let is_default = self.$field == default;
                    if !($versions).contains(&form.version) {
                        ensure!(
                            rules.is_ignorable || is_default,
                            concat!(stringify!($field), " is set in version {}, which does not have it"),
                            form.version
                        );
                    } else if let (Some(tag), false) = (rules.tag, is_default) {
                        let mut payload = Vec::new();
                        self.$field.write(&mut payload, form)?;
                        tagged.push((tag, payload.into()));
                    }
                )*
                let unknown = self.unknown_tagged_fields.iter();
                tagged.extend(unknown.map(|(tag, payload)| (*tag as u32, payload.clone())));
                Ok(tagged)
            }
        }
    };
}
pub(crate) use structure;

macro_rules! default_of {
    () => {
        Default::default()
    };
    ($default:expr) => {
        $default
    };
}
pub(crate) use default_of;

/// Makes a structure the request or the response of an API. Versions and headers are those of its row in `api_spec`.
macro_rules! message {
    ($name:ident, $key:literal, $header_version:ident) => {
        impl Message for $name {
            const VERSIONS: VersionRange = match api_spec::spec($key) {
                Some(spec) => VersionRange {
                    min: spec.min_version,
                    max: spec.max_version,
                },
                None => panic!("an API has no row"),
            };
            const DEPRECATED_VERSIONS: Option<VersionRange> = None;
        }

        impl HeaderVersion for $name {
            fn header_version(version: i16) -> i16 {
                api_spec::spec($key).map_or(0, |spec| spec.$header_version(version))
            }
        }

        impl Decodable for $name {
            fn decode<B: ByteBuf>(input: &mut B, version: i16) -> Result<Self> {
                Wire::read(input, message::form($key, version)?)
            }
        }

        impl Encodable for $name {
            fn encode<B: ByteBufMut>(&self, out: &mut B, version: i16) -> Result<()> {
                self.write(out, message::form($key, version)?)
            }

            fn compute_size(&self, version: i16) -> Result<usize> {
                self.width(message::form($key, version)?)
            }
        }
    };
}
pub(crate) use message;

/// Makes a structure the request of the API with this key.
macro_rules! request {
    ($key:literal, $name:ident => $response:ident) => {
        message::message!($name, $key, request_header_version);

        #[cfg(any(test, feature = "client"))]
        impl kafka_protocol::protocol::Request for $name {
            const KEY: i16 = $key;
            type Response = $response;
        }
    };
}
pub(crate) use request;

/// Makes a structure the response of the API with this key.
macro_rules! response {
    ($key:literal, $name:ident) => {
        message::message!($name, $key, response_header_version);
    };
}
pub(crate) use response;

use anyhow::{Result, bail};

use super::wire::Form;
use crate::api_spec;

/// How an API's messages of `version` are coded.
///
/// # Errors
/// The API does not have the version.
pub(crate) fn form(api_key: i16, version: i16) -> Result<Form> {
    match api_spec::spec(api_key).filter(|spec| spec.has(version)) {
        Some(spec) => Ok(Form {
            version,
            flexible: spec.is_flexible(version),
        }),
        None => bail!("version {version} is not one of the message's"),
    }
}

/// What Kafka's definition says about a field besides its type and versions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) tag: Option<u32>,
    pub(crate) is_ignorable: bool,
}

impl Rules {
    pub(crate) const fn new() -> Self {
        Self {
            tag: None,
            is_ignorable: false,
        }
    }

    pub(crate) const fn ignorable(mut self) -> Self {
        self.is_ignorable = true;
        self
    }

    pub(crate) const fn tag(mut self, tag: u32) -> Self {
        self.tag = Some(tag);
        self
    }

    pub(crate) const fn is_plain(self) -> bool {
        self.tag.is_none()
    }

    pub(crate) fn is_tagged(self, tag: u32) -> bool {
        self.tag == Some(tag)
    }
}
