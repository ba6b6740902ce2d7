//! Valid request bodies of any size, made from the shapes that the guard checks: for tests that send every API a long
//! request.
//!
//! One array of a request is made long, every other has one element. So a new API is covered as soon as it has a shape.

use crate::api_spec::ApiSpec;
use crate::guard::field::{Field, Kind, Shape};
use crate::primitives::put_uvarint;

/// What stands in a sample. Each method is asked with the field's name and the position in the long array, 0 outside.
pub trait Values {
    fn text(&self, field: &str, position: usize) -> String;
    /// Cut to the field's width.
    fn number(&self, field: &str, position: usize) -> i64;
    fn uuid(&self, field: &str, position: usize) -> [u8; 16];
    fn bytes(&self, field: &str) -> Vec<u8>;
}

/// How many arrays a request of the API has in `version`, nested ones included.
pub fn array_count(spec: &ApiSpec, version: i16) -> usize {
    fn count(shape: Shape, version: i16) -> usize {
        let fields = shape.iter().filter(|field| is_sent(field, version));
        fields
            .map(|field| match field.kind {
                Kind::Struct(members) => count(members, version),
                Kind::StructArray(members) => 1 + count(members, version),
                Kind::FixedArray(_) | Kind::StringArray => 1,
                Kind::Fixed(_) | Kind::String | Kind::Bytes => 0,
            })
            .sum()
    }
    count(spec.shape, version)
}

/// A body in which the array at `long_array`, in wire order, has `length` elements.
pub fn body(
    spec: &ApiSpec,
    version: i16,
    long_array: usize,
    length: usize,
    values: &dyn Values,
) -> Vec<u8> {
    let mut sample = Sample {
        version,
        flexible: spec.is_flexible(version),
        long_array,
        length,
        values,
        next_array: 0,
        position: 0,
        body: Vec::new(),
    };
    sample.structure(spec.shape);
    sample.body
}

/// Tagged fields are left out: a request is complete without them.
fn is_sent(field: &Field, version: i16) -> bool {
    field.tag.is_none() && field.is_in(version)
}

struct Sample<'v> {
    version: i16,
    flexible: bool,
    long_array: usize,
    length: usize,
    values: &'v dyn Values,
    next_array: usize,
    position: usize,
    body: Vec<u8>,
}

impl Sample<'_> {
    fn structure(&mut self, shape: Shape) {
        let version = self.version;
        for field in shape.iter().filter(|field| is_sent(field, version)) {
            self.value(field);
        }
        if self.flexible {
            self.body.push(0);
        }
    }

    fn value(&mut self, field: &Field) {
        match field.kind {
            Kind::Fixed(width) => self.number(field.name, width),
            Kind::String => self.text(field.name),
            Kind::Bytes => {
                let bytes = self.values.bytes(field.name);
                self.length32(bytes.len());
                self.body.extend(bytes);
            }
            Kind::Struct(members) => {
                if self.version >= field.nullable_since {
                    self.body.push(1);
                }
                self.structure(members);
            }
            Kind::FixedArray(width) => self.array(|sample| sample.number(field.name, width)),
            Kind::StringArray => self.array(|sample| sample.text(field.name)),
            Kind::StructArray(members) => self.array(|sample| sample.structure(members)),
        }
    }

    fn array(&mut self, mut element: impl FnMut(&mut Self)) {
        let is_long = self.next_array == self.long_array;
        let inner = self.next_array + 1;
        let count = if is_long { self.length } else { 1 };
        self.length32(count);
        for position in 0..count {
            // The arrays in every element are the same ones.
            self.next_array = inner;
            if is_long {
                self.position = position;
            }
            element(self);
        }
        if is_long {
            self.position = 0;
        }
    }

    fn number(&mut self, field: &str, width: usize) {
        if width == 16 {
            self.body.extend(self.values.uuid(field, self.position));
            return;
        }
        let number = self.values.number(field, self.position).to_be_bytes();
        self.body.extend(&number[number.len() - width..]);
    }

    fn text(&mut self, field: &str) {
        let text = self.values.text(field, self.position);
        if self.flexible {
            self.varint(text.len() + 1);
        } else {
            self.body.extend((text.len() as i16).to_be_bytes());
        }
        self.body.extend(text.into_bytes());
    }

    fn length32(&mut self, length: usize) {
        if self.flexible {
            self.varint(length + 1);
        } else {
            self.body.extend((length as i32).to_be_bytes());
        }
    }

    fn varint(&mut self, value: usize) {
        put_uvarint(&mut self.body, value as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api_spec::all;
    use crate::guard;

    struct Plain;

    impl Values for Plain {
        fn text(&self, field: &str, position: usize) -> String {
            format!("{field}-{position}")
        }

        fn number(&self, _field: &str, position: usize) -> i64 {
            position as i64
        }

        fn uuid(&self, _field: &str, position: usize) -> [u8; 16] {
            (position as u128).to_be_bytes()
        }

        fn bytes(&self, _field: &str) -> Vec<u8> {
            vec![1, 2, 3]
        }
    }

    #[test]
    fn a_sample_of_every_api_and_version_passes_the_guard_whichever_array_is_long() {
        for spec in all() {
            for version in spec.min_version..=spec.max_version {
                for long_array in 0..array_count(spec, version).max(1) {
                    for length in [0, 1, 300] {
                        let body = body(spec, version, long_array, length, &Plain).into();
                        let checked = guard::check(spec, version, &body);
                        checked.unwrap_or_else(|error| panic!("array {long_array}: {error}"));
                    }
                }
            }
        }
    }

    #[test]
    fn the_long_array_is_the_one_that_is_asked_for() {
        let spec = crate::api_spec::spec(crate::api_spec::FETCH).expect("Fetch");
        // Topics, their partitions, forgotten topics, their partitions.
        assert_eq!(array_count(spec, spec.max_version), 4);
        let sizes: Vec<_> = (0..4)
            .map(|long_array| body(spec, 17, long_array, 1000, &Plain).len() / 1000)
            .collect();
        // One topic with one partition takes 16 + 1 + 33 + 1 + 1 bytes and so on.
        assert!(sizes[0] > sizes[1] && sizes[2] > sizes[3], "{sizes:?}");
        assert_eq!(sizes[3], 4);
    }
}
