import static java.util.stream.Collectors.*;

import java.time.Duration;
import java.util.*;
import java.util.regex.Pattern;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;

/** usage: Capabilities BOOTSTRAP; the classes beside it add what a version of the client has. */
public class Capabilities {
    /** Compiled for the versions that have what is in them. */
    static final List<String> PARTS = List.of("AdminOfAll", "AdminUntil2", "AdminUntil3", "AdminSince3", "AdminSince4");

    public static void main(String[] args) throws Exception {
        Client.start(args[0]);
        records();
        positions();
        groups();
        commits();
        transactions();
        for (String part : PARTS) {
            try {
                Class.forName(part).getDeclaredMethod("run").invoke(null);
            } catch (ClassNotFoundException error) {
                // Not for this version.
            }
        }
        Capability.allPublicCalls("admin", Admin.class, "create", "close", "metrics", "clientInstanceId",
            "registerMetricForSubscription", "unregisterMetricFromSubscription");
        Client.admin.close(Duration.ofSeconds(5));
        System.exit(0);
    }

    static boolean has(String className) {
        try {
            Class.forName("org.apache.kafka." + className);
            return true;
        } catch (ClassNotFoundException error) {
            return false;
        }
    }

    static String text(byte[] bytes) {
        return bytes == null ? null : new String(bytes);
    }

    static void records() {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd"))
            Capability.of("produce " + codec, () -> {
                String topic = Client.newTopic("codec", 2);
                var records = Client.plain(topic, 100, 2);
                Client.produce(Map.of("compression.type", codec), records);
                var values = Client.readAll(topic, 2, 100).stream().map(record -> text(record.value())).collect(toSet());
                Capability.same(values, records.stream().map(record -> text(record.value())).collect(toSet()));
            });
        Capability.of("produce idempotent", () -> {
            String topic = Client.newTopic("idempotent", 2);
            Client.produce(Map.of("enable.idempotence", "true"), Client.plain(topic, 50, 2));
            Client.readAll(topic, 2, 50);
        });
        for (String acks : List.of("0", "1"))
            Capability.of("produce acks=" + acks, () -> {
                String topic = Client.newTopic("acks", 2);
                Client.produce(Map.of(), Client.plain(topic, 2, 2));
                Client.produce(Map.of("acks", acks, "enable.idempotence", "false"), Client.plain(topic, 10, 2));
                Client.readAll(topic, 2, 12);
            });
        Capability.of("produce to a topic that is created by it", () -> {
            String topic = Capability.unique("automatic");
            Client.produce(Map.of(), List.of(new ProducerRecord<>(topic, Client.bytes("v"))));
            Client.readAll(topic, 1, 1);
        });
        Capability.of("producer partitionsFor", () -> {
            try (var producer = Client.producer(Map.of())) {
                Capability.same(producer.partitionsFor(Client.topic).size(), 2);
            }
        });
        Capability.of("headers", () -> {
            String topic = Client.newTopic("headers", 1);
            var record = new ProducerRecord<>(topic, 0, Client.bytes("k"), Client.bytes("v"));
            var headers = List.of(new RecordHeader("a", Client.bytes("1")), new RecordHeader("a", Client.bytes("2")),
                new RecordHeader("null", (byte[]) null), new RecordHeader("empty", new byte[0]));
            headers.forEach(record.headers()::add);
            Client.produce(Map.of(), List.of(record));
            Capability.same(List.of(Client.readAll(topic, 1, 1).get(0).headers().toArray()), headers);
        });
        Capability.of("tombstones", () -> {
            String topic = Client.newTopic("tombstones", 1, "cleanup.policy", "compact");
            List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
            for (String value : Arrays.asList("v", null, ""))
                records.add(new ProducerRecord<>(topic, Client.bytes("k"), value == null ? null : Client.bytes(value)));
            Client.produce(Map.of(), records);
            var values = Client.readAll(topic, 1, 3).stream().map(record -> text(record.value())).collect(toList());
            Capability.same(values, Arrays.asList("v", null, ""));
        });
        Capability.of("empty and null keys", () -> {
            String topic = Client.newTopic("keys", 1);
            Client.produce(Map.of(), List.of(new ProducerRecord<>(topic, 0, null, Client.bytes("a")),
                new ProducerRecord<>(topic, 0, new byte[0], Client.bytes("b"))));
            var keys = Client.readAll(topic, 1, 2).stream().map(record -> text(record.key())).collect(toList());
            Capability.same(keys, Arrays.asList(null, ""));
        });
        Capability.of("large messages", () -> {
            String topic = Client.newTopic("large", 1, "max.message.bytes", "5000000");
            byte[] value = new byte[4 << 20];
            new Random(1).nextBytes(value);
            Client.produce(Map.of("max.request.size", "5000000"), List.of(new ProducerRecord<>(topic, value)));
            Capability.check(Arrays.equals(Client.readAll(topic, 1, 1).get(0).value(), value), "another value");
        });
        Capability.of("a message that is too large is refused", () -> {
            String topic = Client.newTopic("large", 1, "max.message.bytes", "1000");
            Capability.refused("RecordTooLargeException",
                () -> Client.produce(Map.of(), List.of(new ProducerRecord<>(topic, new byte[2000]))));
        });
        Capability.of("timestamps: of the producer", () -> {
            String topic = Client.newTopic("timestamps", 1);
            Client.produce(Map.of(), List.of(new ProducerRecord<>(topic, 0, Client.NOW, null, Client.bytes("v"))));
            var record = Client.readAll(topic, 1, 1).get(0);
            Capability.same(record.timestampType(), TimestampType.CREATE_TIME);
            Capability.same(record.timestamp(), Client.NOW);
        });
        Capability.of("timestamps: of the log", () -> {
            String topic = Client.newTopic("timestamps", 1, "message.timestamp.type", "LogAppendTime");
            Client.produce(Map.of(), List.of(new ProducerRecord<>(topic, 0, Client.NOW, null, Client.bytes("v"))));
            var record = Client.readAll(topic, 1, 1).get(0);
            Capability.same(record.timestampType(), TimestampType.LOG_APPEND_TIME);
            Capability.check(record.timestamp() > Client.NOW, record);
        });
    }

    static void positions() {
        TopicPartition first = Client.first, second = Client.second;
        Capability.of("seek", () -> {
            try (var consumer = Client.assigned(first)) {
                Client.take(consumer, 10);
                consumer.seek(first, 7);
                Capability.same(Client.take(consumer, 3).get(0).offset(), 7L);
            }
        });
        Capability.of("seek to the beginning and the end", () -> {
            try (var consumer = Client.assigned(first)) {
                consumer.seekToEnd(List.of(first));
                Capability.same(consumer.position(first), 10L);
                consumer.seekToBeginning(List.of(first));
                Capability.same(Client.take(consumer, 10).get(0).offset(), 0L);
            }
        });
        Capability.of("pause and resume", () -> {
            try (var consumer = Client.assigned(first, second)) {
                consumer.pause(List.of(second));
                for (var record : Client.take(consumer, 10)) Capability.same(record.partition(), 0);
                consumer.resume(List.of(second));
                for (var record : Client.take(consumer, 10)) Capability.same(record.partition(), 1);
            }
        });
        try (var consumer = Client.consumer(null)) {
            Capability.of("offsets for times", () -> {
                var found = consumer.offsetsForTimes(Map.of(first, Client.NOW + 5, second, Client.NOW + 1_000_000));
                Capability.same(found.get(first).offset(), 3L);
                Capability.same(found.get(first).timestamp(), Client.NOW + 6);
                Capability.same(found.get(second), null);
            });
            Capability.of("consumer beginningOffsets",
                () -> Capability.same(consumer.beginningOffsets(List.of(first, second)), Map.of(first, 0L, second, 0L)));
            Capability.of("consumer endOffsets",
                () -> Capability.same(consumer.endOffsets(List.of(first, second)), Map.of(first, 10L, second, 10L)));
            Capability.of("consumer listTopics of all",
                () -> Capability.same(consumer.listTopics().get(Client.topic).size(), 2));
            Capability.of("consumer partitionsFor", () -> Capability.same(consumer.partitionsFor(Client.topic).size(), 2));
        }
    }

    /** Two members share a topic's partitions; the first takes all when the second has gone. */
    static void share(Object... settings) throws Exception {
        String topic = Client.newTopic("shared", 4), group = Capability.unique("group");
        Client.produce(Map.of(), Client.plain(topic, 40, 4));
        Set<String> seen = new HashSet<>();
        try (var first = Client.consumer(group, settings)) {
            Capability.Condition firstPolls = () -> {
                for (var record : first.poll(Duration.ofMillis(20))) seen.add(record.partition() + "/" + record.offset());
                return true;
            };
            first.subscribe(List.of(topic));
            try (var second = Client.consumer(group, settings)) {
                second.subscribe(List.of(topic));
                Capability.until("two each", () -> {
                    firstPolls.holds();
                    second.poll(Duration.ofMillis(20));
                    return first.assignment().size() == 2 && second.assignment().size() == 2
                        && Collections.disjoint(first.assignment(), second.assignment());
                });
            }
            Capability.until("all for the one that is left", () -> firstPolls.holds() && first.assignment().size() == 4);
            Capability.until("every record", () -> firstPolls.holds() && seen.size() == 40);
        }
    }

    static void groups() {
        Map<String, String> assignors = new LinkedHashMap<>(Map.of("range", "RangeAssignor", "roundrobin", "RoundRobinAssignor",
            "sticky", "StickyAssignor", "cooperative-sticky", "CooperativeStickyAssignor"));
        assignors.forEach((name, assignor) -> Capability.of("group " + name,
            () -> share("partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor)));
        Capability.of("group of static members", () -> {
            String group = Capability.unique("static");
            for (int time = 0; time < 2; time++)
                Client.reading(group, "group.instance.id", "one").close();
            var described = Client.done(Client.admin.describeConsumerGroups(List.of(group)).all()).get(group);
            var members = described.members().stream().map(member -> member.groupInstanceId()).collect(toList());
            Capability.same(members, List.of(Optional.of("one")));
        });
        boolean kip848 = has("common.requests.ConsumerGroupHeartbeatRequest");
        if (kip848)
            for (String assignor : List.of("range", "uniform"))
                Capability.of("group of KIP-848, " + assignor, () -> share("group.protocol", "consumer", "group.remote.assignor", assignor));
        Capability.of("subscribe by pattern", () -> byPattern("classic"));
        if (kip848) Capability.of("subscribe by pattern, KIP-848", () -> byPattern("consumer"));
    }

    static void byPattern(String protocol) throws Exception {
        String prefix = Capability.unique("pattern");
        List<Object> settings = new ArrayList<>(List.of("metadata.max.age.ms", 500));
        if (!protocol.equals("classic")) settings.addAll(List.of("group.protocol", protocol)); // unknown to old versions
        for (String suffix : List.of("-a", "-b"))
            Client.produce(Map.of(), Client.plain(prefix + suffix, 5, 1));
        try (var consumer = Client.consumer(Capability.unique("group"), settings.toArray())) {
            consumer.subscribe(Pattern.compile(prefix + "-.*"));
            Client.take(consumer, 10);
            consumer.commitSync();
            // A topic that comes later is found, too.
            Client.produce(Map.of(), Client.plain(prefix + "-c", 5, 1));
            Client.take(consumer, 5);
        }
    }

    static void commits() {
        TopicPartition first = Client.first, second = Client.second;
        Capability.of("commit synchronous", () -> {
            String group = Capability.unique("commit");
            try (var consumer = Client.reading(group)) {
                consumer.commitSync();
            }
            Capability.same(Client.committed(group, first), 10L);
            Capability.same(Client.committed(group, second), 10L);
        });
        Capability.of("commit asynchronous", () -> {
            String group = Capability.unique("commit");
            List<Object> reports = new ArrayList<>();
            try (var consumer = Client.reading(group)) {
                consumer.commitAsync((offsets, error) -> reports.add(error == null ? offsets.size() : error));
                Capability.until("a report", () -> {
                    consumer.poll(Duration.ofMillis(20));
                    return !reports.isEmpty();
                });
            }
            Capability.same(reports, List.of(2));
            Capability.same(Client.committed(group, first), 10L);
        });
        Capability.of("commit of offsets", () -> {
            String group = Capability.unique("commit");
            try (var consumer = Client.reading(group)) {
                consumer.commitSync(Map.of(first, new OffsetAndMetadata(3), second, new OffsetAndMetadata(4)));
            }
            Capability.same(Client.committed(group, first), 3L);
            Capability.same(Client.committed(group, second), 4L);
        });
        Capability.of("commit with metadata", () -> {
            String group = Capability.unique("commit");
            var offset = new OffsetAndMetadata(3, Optional.of(0), "mine \u00e9");
            try (var consumer = Client.reading(group)) {
                consumer.commitSync(Map.of(first, offset));
            }
            Capability.same(Client.committedWithMetadata(group, first), offset);
        });
        Capability.of("commit without joining", () -> {
            String group = Capability.unique("commit");
            try (var consumer = Client.consumer(group)) {
                consumer.commitSync(Map.of(first, new OffsetAndMetadata(6)));
            }
            Capability.same(Client.committed(group, first), 6L);
        });
        Capability.of("commit automatic", () -> {
            String group = Capability.unique("commit");
            try (var consumer = Client.reading(group, "enable.auto.commit", "true", "auto.commit.interval.ms", 100)) {
                Capability.until("committed", () -> {
                    consumer.poll(Duration.ofMillis(20));
                    return Objects.equals(Client.committed(group, first), 10L);
                });
            }
        });
        Capability.of("a group goes on where it has committed", () -> {
            String group = Capability.unique("commit");
            try (var consumer = Client.reading(group)) {
                consumer.commitSync(Map.of(first, new OffsetAndMetadata(8), second, new OffsetAndMetadata(9)));
            }
            try (var consumer = Client.consumer(group)) {
                consumer.subscribe(List.of(Client.topic));
                Set<String> read = new TreeSet<>();
                for (var record : Client.take(consumer, 3)) read.add(record.partition() + "/" + record.offset());
                Capability.same(read, Set.of("0/8", "0/9", "1/9"));
            }
        });
    }

    static KafkaProducer<byte[], byte[]> transactional() {
        return transactional(Capability.unique("transaction"), 60_000);
    }

    static KafkaProducer<byte[], byte[]> transactional(String id, int timeoutMs) {
        var producer = Client.producer(Map.of("transactional.id", id, "max.block.ms", "10000", "transaction.timeout.ms", timeoutMs));
        producer.initTransactions();
        return producer;
    }

    /** Sends the copies of what the member has read, and its positions. */
    static void process(KafkaProducer<byte[], byte[]> producer, Consumer<byte[], byte[]> consumer,
                        List<ConsumerRecord<byte[], byte[]>> read, String topic, String prefix) {
        producer.beginTransaction();
        for (var record : read) producer.send(new ProducerRecord<>(topic, record.partition(), null, Client.bytes(prefix + text(record.value()))));
        Map<TopicPartition, OffsetAndMetadata> positions = new HashMap<>();
        for (var partition : consumer.assignment()) positions.put(partition, new OffsetAndMetadata(consumer.position(partition)));
        producer.sendOffsetsToTransaction(positions, consumer.groupMetadata());
        producer.flush();
    }

    static void readCommitted(String topic, int partitions, Set<String> values) throws Exception {
        Set<String> read = new TreeSet<>();
        for (var record : Client.readAll(topic, partitions, values.size(), "isolation.level", "read_committed")) read.add(text(record.value()));
        Capability.same(read, values);
    }

    static void transactions() {
        Capability.of("transaction committed", () -> {
            String topic = Client.newTopic("transaction", 1);
            try (var producer = transactional()) {
                producer.beginTransaction();
                producer.send(new ProducerRecord<>(topic, Client.bytes("v")));
                producer.commitTransaction();
            }
            Client.readAll(topic, 1, 1, "isolation.level", "read_committed");
        });
        Capability.of("transaction aborted", () -> {
            String topic = Client.newTopic("transaction", 1);
            try (var producer = transactional()) {
                for (String value : List.of("aborted", "committed")) {
                    producer.beginTransaction();
                    producer.send(new ProducerRecord<>(topic, Client.bytes(value))).get();
                    if (value.equals("aborted")) producer.abortTransaction();
                    else producer.commitTransaction();
                }
            }
            var read = Client.readAll(topic, 1, 1, "isolation.level", "read_committed");
            Capability.same(text(read.get(0).value()), "committed");
        });
        Capability.of("transaction with offsets", () -> {
            String group = Capability.unique("group");
            try (var producer = transactional(); var consumer = Client.reading(group)) {
                producer.beginTransaction();
                producer.sendOffsetsToTransaction(Map.of(Client.first, new OffsetAndMetadata(5)), consumer.groupMetadata());
                producer.commitTransaction();
            }
            Capability.same(Client.committed(group, Client.first), 5L);
        });
        Capability.of("transaction read-process-write", () -> {
            String group = Capability.unique("group"), topic = Client.newTopic("transaction", 2);
            Set<String> processed = new TreeSet<>();
            try (var producer = transactional(); var consumer = Client.consumer(group)) {
                consumer.subscribe(List.of(Client.topic));
                var read = Client.take(consumer, 20);
                for (var record : read) processed.add("committed " + text(record.value()));
                process(producer, consumer, read, topic, "aborted ");
                producer.abortTransaction();
                Capability.same(Client.committed(group, Client.first), null);
                process(producer, consumer, read, topic, "committed ");
                producer.commitTransaction();
            }
            for (var partition : List.of(Client.first, Client.second)) Capability.same(Client.committed(group, partition), 10L);
            readCommitted(topic, 2, processed);
        });
        Capability.of("transaction of a zombie refused", () -> {
            String id = Capability.unique("transaction"), topic = Client.newTopic("transaction", 1);
            try (var zombie = transactional(id, 60_000)) {
                zombie.beginTransaction();
                zombie.send(new ProducerRecord<>(topic, Client.bytes("zombie"))).get();
                try (var successor = transactional(id, 60_000)) {
                    successor.beginTransaction();
                    successor.send(new ProducerRecord<>(topic, Client.bytes("committed")));
                    successor.commitTransaction();
                }
                Capability.refused("ProducerFencedException", zombie::commitTransaction);
            }
            readCommitted(topic, 1, Set.of("committed"));
        });
        Capability.of("transaction timed out", () -> {
            String topic = Client.newTopic("transaction", 1);
            try (var producer = transactional(Capability.unique("transaction"), 1000)) {
                producer.beginTransaction();
                producer.send(new ProducerRecord<>(topic, Client.bytes("late"))).get();
                Client.produce(Map.of(), List.of(new ProducerRecord<>(topic, Client.bytes("behind it"))));
                readCommitted(topic, 1, Set.of("behind it"));
                Capability.refused("KafkaException", producer::commitTransaction);
            }
        });
    }
}
