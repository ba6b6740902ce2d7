//! Random valid bodies, written from the shapes.

use rand::{Rng, rngs::StdRng};

use super::super::field::{Field, Kind, Shape};
use crate::api_spec::ApiSpec;

/// A body that the decoder must take whole and give back byte for byte.
pub(super) fn body(rng: &mut StdRng, spec: &ApiSpec, version: i16) -> Vec<u8> {
    let flexible = spec.is_flexible(version);
    let mut generator = Generator {
        rng,
        version,
        flexible,
        out: Vec::new(),
    };
    generator.structure(spec.shape);
    generator.out
}

struct Generator<'a> {
    rng: &'a mut StdRng,
    version: i16,
    flexible: bool,
    out: Vec<u8>,
}

impl Generator<'_> {
    fn structure(&mut self, shape: Shape) {
        for field in shape {
            if field.tag.is_none() && field.is_in(self.version) {
                self.value(field, true);
            }
        }
        if self.flexible {
            self.tagged_fields(shape);
        }
    }

    /// `any`: null and empty are allowed too. In tagged fields they may be the default, which is never written.
    fn value(&mut self, field: &Field, any: bool) {
        let null = any && self.version >= field.nullable_since && self.rng.random_bool(0.2);
        let least = usize::from(!any);
        match field.kind {
            Kind::Fixed(width) => self.fixed(width),
            Kind::String => self.string(null, least),
            Kind::Bytes => {
                let length = self.length(least);
                self.length32((!null).then_some(length));
                if !null {
                    self.rng.fill(&mut extend(&mut self.out, length)[..]);
                }
            }
            Kind::Struct(members) => {
                if self.version >= field.nullable_since {
                    self.out.push(if null { 0xff } else { 1 });
                }
                if !null {
                    self.structure(members);
                }
            }
            Kind::FixedArray(width) => self.array(null, least, |element| element.fixed(width)),
            Kind::StringArray => self.array(null, least, |element| element.string(false, 0)),
            Kind::StructArray(members) => {
                self.array(null, least, |element| element.structure(members))
            }
        }
    }

    fn array(&mut self, null: bool, least: usize, mut element: impl FnMut(&mut Self)) {
        let count = self.rng.random_range(least..4);
        self.length32((!null).then_some(count));
        if !null {
            (0..count).for_each(|_| element(self));
        }
    }

    fn tagged_fields(&mut self, shape: Shape) {
        let mut tags: Vec<u32> = Vec::new();
        for field in shape.iter().filter(|field| field.is_in(self.version)) {
            tags.extend(field.tag.filter(|_| self.rng.random_bool(0.5)));
        }
        // Tags that the shape does not know: if the decoder knows one, it will read it as something else.
        for tag in [0..8, 8..300, 300..i32::MAX as u32] {
            let tag = self.rng.random_range(tag);
            if self.rng.random_bool(0.1) && shape.iter().all(|field| field.tag != Some(tag)) {
                tags.push(tag);
            }
        }
        tags.sort_unstable();
        self.varint(tags.len() as u32);
        for tag in tags {
            self.varint(tag);
            let before = std::mem::take(&mut self.out);
            match shape.iter().find(|field| field.tag == Some(tag)) {
                Some(field) => self.value(field, false),
                None => {
                    let length = self.length(1);
                    self.rng.fill(&mut extend(&mut self.out, length)[..]);
                }
            }
            let payload = std::mem::replace(&mut self.out, before);
            self.varint(payload.len() as u32);
            self.out.extend(payload);
        }
    }

    /// One-byte values are 0 or 1, because a boolean is written back as one of them.
    fn fixed(&mut self, width: usize) {
        if width == 1 {
            self.out.push(self.rng.random_range(0..2));
        } else {
            self.rng.fill(&mut extend(&mut self.out, width)[..]);
        }
    }

    fn string(&mut self, null: bool, least: usize) {
        let length = self.length(least);
        let mut text: String = (0..length)
            .map(|_| self.rng.random_range('a'..='z'))
            .collect();
        if self.rng.random_bool(0.1) {
            text.push('é');
        }
        match (null, self.flexible) {
            (_, true) => self.length32((!null).then_some(text.len())),
            (true, false) => self.out.extend([0xff; 2]),
            (false, false) => self.out.extend((text.len() as i16).to_be_bytes()),
        }
        if !null {
            self.out.extend(text.as_bytes());
        }
    }

    /// Mostly short, sometimes long enough for a compact length of two bytes.
    fn length(&mut self, least: usize) -> usize {
        let most = if self.rng.random_bool(0.02) { 300 } else { 12 };
        self.rng.random_range(least..most)
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

fn extend(out: &mut Vec<u8>, length: usize) -> &mut [u8] {
    let start = out.len();
    out.resize(start + length, 0);
    &mut out[start..]
}
