//! The vocabulary in which request shapes are written down: `int32("max_wait_ms")`, `string("rack_id").since(11)`,
//! `array("topics").of(&[...])`.

/// The fields of a struct, in wire order. Tagged fields may stand anywhere.
pub(crate) type Shape = &'static [Field];

/// One field of a request and the versions that carry it.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) since: i16,
    pub(crate) until: i16,
    pub(crate) nullable_since: i16,
    /// Set: the field travels in the tagged-field section of its struct (KIP-482).
    pub(crate) tag: Option<u32>,
}

/// How a field lies on the wire. Strings, bytes and arrays have a compact form in flexible versions.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Integers, booleans, floats and uuids: only the width in bytes matters.
    Fixed(usize),
    /// i16 length, or compact.
    String,
    /// i32 length, or compact. Record batches too.
    Bytes,
    Struct(Shape),
    FixedArray(usize),
    StringArray,
    StructArray(Shape),
}

impl Field {
    const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            since: 0,
            until: i16::MAX,
            nullable_since: i16::MAX,
            tag: None,
        }
    }

    /// First version that has the field. Without it: the first the API has.
    pub(crate) const fn since(mut self, version: i16) -> Self {
        self.since = version;
        self
    }

    /// Last version that has the field. Without it: the last the API has.
    pub(crate) const fn until(mut self, version: i16) -> Self {
        self.until = version;
        self
    }

    /// The field may be null in every version that has it.
    pub(crate) const fn nullable(self) -> Self {
        self.nullable_since(0)
    }

    /// The field may be null from this version on.
    pub(crate) const fn nullable_since(mut self, version: i16) -> Self {
        self.nullable_since = version;
        self
    }

    /// The field is a tagged one, with this tag.
    pub(crate) const fn tag(mut self, tag: u32) -> Self {
        self.tag = Some(tag);
        self
    }

    /// The members of a struct, or of each element of an array.
    pub(crate) const fn of(mut self, members: Shape) -> Self {
        self.kind = match self.kind {
            Kind::Struct(_) => Kind::Struct(members),
            Kind::StructArray(_) => Kind::StructArray(members),
            _ => panic!("only structs and arrays of structs have members"),
        };
        self
    }

    pub(crate) const fn is_in(&self, version: i16) -> bool {
        self.since <= version && version <= self.until
    }
}

macro_rules! constructors {
    ($($name:ident => $kind:expr),* $(,)?) => {
        $(pub(crate) const fn $name(name: &'static str) -> Field {
            Field::new(name, $kind)
        })*
    };
}

constructors! {
    boolean => Kind::Fixed(1),
    int8 => Kind::Fixed(1),
    int16 => Kind::Fixed(2),
    uint16 => Kind::Fixed(2),
    int32 => Kind::Fixed(4),
    int64 => Kind::Fixed(8),
    float64 => Kind::Fixed(8),
    uuid => Kind::Fixed(16),
    string => Kind::String,
    bytes => Kind::Bytes,
    records => Kind::Bytes,
    structure => Kind::Struct(&[]),
    int8_array => Kind::FixedArray(1),
    int32_array => Kind::FixedArray(4),
    int64_array => Kind::FixedArray(8),
    string_array => Kind::StringArray,
    array => Kind::StructArray(&[]),
}
