//! Random valid bodies, written from the shapes.

use rand::{Rng, rngs::StdRng};

use super::super::field::{Field, Kind, Shape};
use crate::api_spec::ApiSpec;

/// A body that the decoder must take whole and give back byte for byte.
pub(super) fn body(rng: &mut StdRng, spec: &ApiSpec, version: i16) -> Vec<u8> {
    generate(rng, spec, version, None)
}

/// The same of a response.
pub(super) fn response_body(
    rng: &mut StdRng,
    spec: &ApiSpec,
    version: i16,
    shape: Shape,
) -> Vec<u8> {
    let mut generator = Generator::new(rng, spec, version);
    generator.structure(shape);
    generator.writer.out
}

/// A body that has `null_field` wherever it can be, and null each time. Nothing else is null or empty.
pub(super) fn body_with_null(
    rng: &mut StdRng,
    spec: &ApiSpec,
    version: i16,
    null_field: &'static Field,
) -> Vec<u8> {
    generate(rng, spec, version, Some(null_field))
}

/// A body without null, of which string `nth` consists of `text`, be it UTF-8 or not.
pub(super) fn body_with_text(
    rng: &mut StdRng,
    spec: &ApiSpec,
    version: i16,
    nth: usize,
    text: &[u8],
) -> Vec<u8> {
    let mut generator = Generator::new(rng, spec, version);
    generator.full = true;
    generator.text = Some((nth, text));
    generator.structure(spec.shape);
    generator.writer.out
}

/// How many strings such a body has at least.
pub(super) fn count_strings(rng: &mut StdRng, spec: &ApiSpec, version: i16) -> usize {
    (0..)
        .find(|&nth| {
            let mut generator = Generator::new(rng, spec, version);
            generator.full = true;
            generator.text = Some((nth, b""));
            generator.structure(spec.shape);
            generator.strings <= nth
        })
        .expect("a body has an end")
}

fn generate(
    rng: &mut StdRng,
    spec: &ApiSpec,
    version: i16,
    null_field: Option<&'static Field>,
) -> Vec<u8> {
    let mut generator = Generator::new(rng, spec, version);
    generator.full = null_field.is_some();
    generator.null_field = null_field;
    generator.structure(spec.shape);
    generator.writer.out
}

/// A valid body with `count` elements in every array at `depth`, one in those above, none in those below, and nothing
/// else that could be left out. `tagged`: each element carries one unknown tagged field of no bytes, if it can.
pub(super) fn dense_body(
    spec: &ApiSpec,
    version: i16,
    depth: usize,
    count: usize,
    tagged: bool,
) -> Vec<u8> {
    let mut writer = Writer {
        flexible: spec.is_flexible(version),
        out: Vec::new(),
    };
    writer.dense(spec.shape, version, depth, count, tagged);
    writer.out
}

impl Writer {
    fn dense(&mut self, shape: Shape, version: i16, depth: usize, count: usize, tagged: bool) {
        let here = if depth == 0 { count } else { 1 };
        for field in shape
            .iter()
            .filter(|field| field.tag.is_none() && field.is_in(version))
        {
            match field.kind {
                Kind::Fixed(width) => self.out.extend(std::iter::repeat_n(0, width)),
                Kind::String => self.string(Some(b"")),
                Kind::Bytes => self.length32(Some(0)),
                Kind::Struct(members) => {
                    if version >= field.nullable_since {
                        self.out.push(1);
                    }
                    self.dense(members, version, depth, count, tagged);
                }
                Kind::FixedArray(_) => self.length32(Some(0)),
                Kind::StringArray => {
                    self.length32(Some(here));
                    (0..here).for_each(|_| self.string(Some(b"")));
                }
                Kind::StructArray(members) => {
                    // Below the level asked for, arrays are empty.
                    let here = if depth == usize::MAX { 0 } else { here };
                    self.length32(Some(here));
                    for _ in 0..here {
                        let below = depth.checked_sub(1).unwrap_or(usize::MAX);
                        self.dense(members, version, below, count, tagged);
                    }
                }
            }
        }
        if self.flexible {
            let tags: &[u8] = if tagged { &[1, 100, 0] } else { &[0] };
            self.out.extend(tags);
        }
    }
}

struct Generator<'a> {
    rng: &'a mut StdRng,
    version: i16,
    /// Nothing is null, empty or left out, but for `null_field`; arrays have one element.
    full: bool,
    null_field: Option<&'static Field>,
    /// The bytes of one string, by its place among all.
    text: Option<(usize, &'a [u8])>,
    strings: usize,
    writer: Writer,
}

impl<'a> Generator<'a> {
    fn new(rng: &'a mut StdRng, spec: &ApiSpec, version: i16) -> Self {
        let writer = Writer {
            flexible: spec.is_flexible(version),
            out: Vec::new(),
        };
        Self {
            rng,
            version,
            full: false,
            null_field: None,
            text: None,
            strings: 0,
            writer,
        }
    }

    fn structure(&mut self, shape: Shape) {
        for field in shape {
            if field.tag.is_none() && field.is_in(self.version) {
                self.value(field, true);
            }
        }
        if self.writer.flexible {
            self.tagged_fields(shape);
        }
    }

    /// `any`: null and empty are allowed too. In tagged fields they may be the default, which is never written.
    fn value(&mut self, field: &Field, any: bool) {
        let any = any && !self.full;
        let nullable = any && self.version >= field.nullable_since;
        let null = match self.null_field {
            Some(null_field) => std::ptr::eq(field, null_field),
            None => nullable && self.rng.random_bool(0.2),
        };
        let least = usize::from(!any);
        match field.kind {
            Kind::Fixed(1) if !any => self.writer.out.push(1),
            Kind::Fixed(width) => self.fixed(width),
            Kind::String => self.string(null, least),
            Kind::Bytes if null => self.writer.length32(None),
            Kind::Bytes => {
                let length = self.length(least);
                self.writer.length32(Some(length));
                self.random_bytes(length);
            }
            Kind::Struct(members) => {
                if self.version >= field.nullable_since {
                    self.writer.out.push(if null { 0xff } else { 1 });
                }
                if !null {
                    self.structure(members);
                }
            }
            Kind::FixedArray(width) => self.array(null, least, |this| this.fixed(width)),
            Kind::StringArray => self.array(null, least, |this| this.string(false, 0)),
            Kind::StructArray(members) => self.array(null, least, |this| this.structure(members)),
        }
    }

    fn array(&mut self, null: bool, least: usize, mut element: impl FnMut(&mut Self)) {
        if null {
            return self.writer.length32(None);
        }
        let most = if self.text.is_some() { 1 } else { 3 };
        let count = self.rng.random_range(least..=most);
        self.writer.length32(Some(count));
        (0..count).for_each(|_| element(self));
    }

    fn tagged_fields(&mut self, shape: Shape) {
        let mut tags: Vec<u32> = Vec::new();
        for field in shape.iter().filter(|field| field.is_in(self.version)) {
            tags.extend(field.tag.filter(|_| self.full || self.rng.random_bool(0.5)));
        }
        // Tags that the shape does not know: if the decoder knows one, it will read it as something else.
        for tag in [0..8, 8..300, 300..i32::MAX as u32] {
            let tag = self.rng.random_range(tag);
            if self.rng.random_bool(0.1) && shape.iter().all(|field| field.tag != Some(tag)) {
                tags.push(tag);
            }
        }
        tags.sort_unstable();
        self.writer.varint(tags.len() as u32);
        for tag in tags {
            let before = std::mem::take(&mut self.writer.out);
            match shape.iter().find(|field| field.tag == Some(tag)) {
                Some(field) => self.value(field, false),
                None => {
                    let length = self.length(1);
                    self.random_bytes(length);
                }
            }
            let payload = std::mem::replace(&mut self.writer.out, before);
            self.writer.varint(tag);
            self.writer.varint(payload.len() as u32);
            self.writer.out.extend(payload);
        }
    }

    /// One-byte values are 0 or 1, because a boolean is written back as one of them.
    fn fixed(&mut self, width: usize) {
        if width == 1 {
            self.writer.out.push(self.rng.random_range(0..2));
        } else {
            self.random_bytes(width);
        }
    }

    fn random_bytes(&mut self, length: usize) {
        let bytes = (0..length).map(|_| self.rng.random::<u8>());
        self.writer.out.extend(bytes);
    }

    fn string(&mut self, null: bool, least: usize) {
        if null {
            return self.writer.string(None);
        }
        let length = self.length(least);
        let letters = (0..length).map(|_| self.rng.random_range('a'..='ß'));
        let letters = letters.collect::<String>();
        self.strings += 1;
        match self.text {
            Some((nth, text)) if nth == self.strings - 1 => self.writer.string(Some(text)),
            _ => self.writer.string(Some(letters.as_bytes())),
        }
    }

    /// Mostly short, sometimes long enough for a compact length of two bytes.
    fn length(&mut self, least: usize) -> usize {
        let most = if self.rng.random_bool(0.02) { 300 } else { 12 };
        self.rng.random_range(least..most)
    }
}

/// Lengths and strings, compact or not.
struct Writer {
    flexible: bool,
    out: Vec<u8>,
}

impl Writer {
    fn string(&mut self, text: Option<&[u8]>) {
        match text {
            _ if self.flexible => self.length32(text.map(<[u8]>::len)),
            None => self.out.extend([0xff; 2]),
            Some(text) => self.out.extend((text.len() as i16).to_be_bytes()),
        }
        self.out.extend(text.unwrap_or_default());
    }

    fn length32(&mut self, length: Option<usize>) {
        match (length, self.flexible) {
            (None, true) => self.varint(0),
            (None, false) => self.out.extend([0xff; 4]),
            (Some(length), true) => self.varint(length as u32 + 1),
            (Some(length), false) => self.out.extend((length as i32).to_be_bytes()),
        }
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
}
