//! What members of classic groups tell each other through the broker: subscriptions and assignments.
//!
//! It is the other members' word, so nothing is allocated before its bytes are there.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::cluster::{Partition, by_topic};

/// The topics of a subscription, of any version; `None` if it is none.
pub(crate) fn subscribed(mut bytes: Bytes) -> Option<Vec<String>> {
    bytes.try_get_i16().ok()?;
    let count = bytes.try_get_i32().ok()?;
    let mut topics = Vec::new();
    for _ in 0..count {
        topics.push(string(&mut bytes)?);
    }
    Some(topics)
}

/// A subscription to one topic.
pub(crate) fn subscription(topic: &str) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(1);
    put_string(&mut bytes, topic);
    // No user data.
    bytes.put_i32(-1);
    bytes.freeze()
}

/// The partitions of an assignment, of any version; `None` if it is none. Who has nothing may have an empty one.
pub(crate) fn assigned(mut bytes: Bytes) -> Option<Vec<Partition>> {
    let mut partitions = Vec::new();
    if bytes.is_empty() {
        return Some(partitions);
    }
    bytes.try_get_i16().ok()?;
    let count = bytes.try_get_i32().ok()?;
    for _ in 0..count {
        let topic = string(&mut bytes)?;
        let count = bytes.try_get_i32().ok()?;
        for _ in 0..count {
            let index = bytes.try_get_i32().ok()?;
            partitions.push((topic.clone(), index));
        }
    }
    Some(partitions)
}

/// An assignment of these partitions.
pub(crate) fn assignment(partitions: Vec<Partition>) -> Bytes {
    let topics = by_topic(partitions.into_iter().map(|partition| (partition, ())));
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    // What does not fit into 31 bits does not fit into a frame either.
    bytes.put_i32(topics.len() as i32);
    for (topic, partitions) in topics {
        put_string(&mut bytes, &topic);
        bytes.put_i32(partitions.len() as i32);
        for (index, ()) in partitions {
            bytes.put_i32(index);
        }
    }
    bytes.put_i32(-1);
    bytes.freeze()
}

/// A topic's name has 249 characters at most.
fn put_string(bytes: &mut BytesMut, text: &str) {
    bytes.put_i16(text.len() as i16);
    bytes.put_slice(text.as_bytes());
}

fn string(bytes: &mut Bytes) -> Option<String> {
    let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
    let text = (bytes.remaining() >= length).then(|| bytes.split_to(length))?;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
    use kafka_protocol::protocol::Decodable as _;

    use super::*;

    #[test]
    fn kafkas_own_definitions_read_what_is_written() {
        let partitions = vec![
            ("a".to_owned(), 0),
            ("a".to_owned(), 2),
            ("b".to_owned(), 1),
        ];
        let bytes = assignment(partitions.clone());
        assert_eq!(assigned(bytes.clone()), Some(partitions));
        let read = ConsumerProtocolAssignment::decode(&mut bytes.slice(2..), 0).unwrap();
        assert_eq!(read.assigned_partitions.len(), 2);
        assert_eq!(read.assigned_partitions[0].partitions, [0, 2]);
        let bytes = subscription("orders");
        assert_eq!(subscribed(bytes.clone()), Some(vec!["orders".to_owned()]));
        let read = ConsumerProtocolSubscription::decode(&mut bytes.slice(2..), 0).unwrap();
        assert_eq!(read.topics[0].as_str(), "orders");
    }

    #[test]
    fn counts_of_others_are_not_believed() {
        let huge = [
            0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 1, b'a', 0x7f, 0xff, 0xff, 0xff,
        ];
        for end in 1..=huge.len() {
            let bytes = Bytes::copy_from_slice(&huge[..end]);
            assert_eq!(assigned(bytes.clone()), None);
            assert_eq!(subscribed(bytes), None);
        }
    }
}
