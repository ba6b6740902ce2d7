import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.*;

/**
 * Fills topics, tells all that can be read of them, and writes on:
 * create BOOTSTRAP | fill BOOTSTRAP | read BOOTSTRAP | append BOOTSTRAP
 * remove BOOTSTRAP (records) | commit BOOTSTRAP PROTOCOLS | groups BOOTSTRAP | topics BOOTSTRAP | resume BOOTSTRAP PROTOCOLS
 */
public class KafkaDirectory {
    static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");
    static final Map<String, Integer> TOPICS = new TreeMap<>(Map.of("plain", 2, "transactions", 1, "compacted", 1));
    static final long FIRST_MS = 1_700_000_000_000L;
    static final Random RANDOM = new Random(7);
    static Map<String, Object> common;
    static long nextMs = FIRST_MS;

    public static void main(String[] args) throws Exception {
        common = Map.of("bootstrap.servers", args[1]);
        switch (args[0]) {
            case "create" -> create();
            case "fill" -> fill();
            case "read" -> read();
            case "append" -> append();
            case "remove" -> remove();
            case "commit" -> commit(args[2]);
            case "groups" -> groups();
            case "topics" -> topics();
            case "resume" -> resume(args[2]);
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    static void create() throws Exception {
        try (Admin admin = Admin.create(common)) {
            List<NewTopic> topics = new ArrayList<>();
            TOPICS.forEach((name, partitions) -> {
                Map<String, String> configs = new HashMap<>(Map.of(
                    "segment.bytes", "1048576", "index.interval.bytes", "1000", "retention.ms", "-1"));
                if (name.equals("compacted")) {
                    configs.putAll(Map.of("cleanup.policy", "compact", "min.cleanable.dirty.ratio", "0.01"));
                }
                topics.add(new NewTopic(name, partitions, (short) 1).configs(configs));
            });
            admin.createTopics(topics).all().get(30, TimeUnit.SECONDS);
        }
    }

    static KafkaProducer<byte[], byte[]> producer(String codec, String transactionalId, boolean idempotent) {
        Map<String, Object> settings = new HashMap<>(common);
        settings.put("compression.type", codec);
        settings.put("enable.idempotence", idempotent);
        if (transactionalId != null) settings.put("transactional.id", transactionalId);
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
    }

    /** Keys, values and headers of every kind, null ones too; times that are not in order. */
    static ProducerRecord<byte[], byte[]> record(String topic, int partition, String key, int bytes) {
        byte[] value = null;
        if (bytes >= 0) {
            value = new byte[bytes];
            RANDOM.nextBytes(value);
        }
        nextMs += 10;
        long timestamp = nextMs - (RANDOM.nextInt(4) == 0 ? 1000 : 0);
        var record = new ProducerRecord<>(topic, partition, timestamp, key == null ? null : key.getBytes(), value);
        for (int number = RANDOM.nextInt(3); number > 0; number--) {
            record.headers().add("header-" + number, number == 2 ? null : ("h" + timestamp).getBytes());
        }
        return record;
    }

    static void send(KafkaProducer<byte[], byte[]> producer, List<ProducerRecord<byte[], byte[]>> records) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (var record : records) sent.add(producer.send(record));
        producer.flush();
        for (var future : sent) future.get(30, TimeUnit.SECONDS);
    }

    static void plain(int count, int bytes) throws Exception {
        for (String codec : CODECS) {
            for (boolean idempotent : List.of(true, false)) {
                try (var producer = producer(codec, null, idempotent)) {
                    for (int partition = 0; partition < 2; partition++) {
                        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
                        for (int number = 0; number < count; number++) {
                            String key = number % 5 == 0 ? null : codec + number;
                            int size = switch (number % 7) { case 0 -> -1; case 1 -> 0; default -> bytes; };
                            records.add(record("plain", partition, key, size));
                        }
                        send(producer, records);
                    }
                }
            }
        }
    }

    static void fill() throws Exception {
        plain(100, 4000);
        for (String codec : List.of("none", "lz4")) {
            try (var one = producer(codec, "one-" + codec, true); var two = producer(codec, "two-" + codec, true);
                 var outside = producer(codec, null, true)) {
                one.initTransactions();
                two.initTransactions();
                for (int round = 0; round < 12; round++) {
                    one.beginTransaction();
                    two.beginTransaction();
                    for (int turn = 0; turn < 3; turn++) {
                        send(one, List.of(record("transactions", 0, "one", 9000), record("compacted", 0, "one", 90)));
                        send(two, List.of(record("transactions", 0, "two", 9000), record("compacted", 0, "two", 90)));
                        send(outside, List.of(record("transactions", 0, null, 9000)));
                    }
                    if (round % 3 == 0) one.abortTransaction(); else one.commitTransaction();
                    if (round % 2 == 0) two.abortTransaction(); else two.commitTransaction();
                }
            }
        }
        long written = 0;
        for (String codec : CODECS) {
            try (var producer = producer(codec, null, true)) {
                for (int round = 0; round < 20; round++) {
                    List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
                    for (int key = 0; key < 10; key++) {
                        int bytes = round == 19 && key == 3 ? -1 : 4000;
                        records.add(record("compacted", 0, codec.charAt(0) + "-" + key, bytes));
                    }
                    send(producer, records);
                    written += records.size();
                }
            }
        }
        // Until the cleaner has been there: what it leaves has gaps.
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (read("compacted", 0, "read_uncommitted", new ArrayList<>()) > written / 2) {
            if (System.nanoTime() > deadline) throw new IllegalStateException("not compacted");
            Thread.sleep(200);
        }
        Thread.sleep(1500);
    }

    static void append() throws Exception {
        plain(20, 1000);
        try (var producer = producer("gzip", null, true)) {
            for (int number = 0; number < 20; number++) {
                send(producer, List.of(record("transactions", 0, "later", 100), record("compacted", 0, "later-" + number, 100)));
            }
        }
    }

    /** Within the first segment of one partition, and beyond it in the other. */
    static void remove() throws Exception {
        try (Admin admin = Admin.create(common)) {
            admin.deleteRecords(Map.of(
                new TopicPartition("plain", 0), RecordsToDelete.beforeOffset(7),
                new TopicPartition("plain", 1), RecordsToDelete.beforeOffset(600))).all().get(30, TimeUnit.SECONDS);
        }
    }

    static KafkaConsumer<byte[], byte[]> member(String protocol) {
        Map<String, Object> settings = new HashMap<>(common);
        settings.put("group.id", protocol + "-group");
        settings.put("group.protocol", protocol);
        settings.put("auto.offset.reset", "none");
        settings.put("enable.auto.commit", "false");
        settings.put("max.poll.records", "50");
        var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        consumer.subscribe(List.of("plain"));
        return consumer;
    }

    /** Offsets of members of a group, and of groups that never had one. */
    static void commit(String protocols) throws Exception {
        try (Admin admin = Admin.create(common)) {
            for (String protocol : protocols.split(",")) {
                admin.alterConsumerGroupOffsets(protocol + "-group", Map.of(
                    new TopicPartition("plain", 0), new OffsetAndMetadata(10, Optional.of(0), "from the admin"),
                    new TopicPartition("plain", 1), new OffsetAndMetadata(610))).all().get(30, TimeUnit.SECONDS);
                try (var consumer = member(protocol)) {
                    Set<Integer> seen = new HashSet<>();
                    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
                    while (seen.size() < 2) {
                        if (System.nanoTime() > deadline) throw new IllegalStateException("no records");
                        for (var record : consumer.poll(Duration.ofMillis(500))) seen.add(record.partition());
                        consumer.commitSync();
                    }
                }
            }
            for (int number = 0; number < 60; number++) {
                admin.alterConsumerGroupOffsets("many-" + number, Map.of(
                    new TopicPartition("compacted", 0), new OffsetAndMetadata(number, "note " + number))).all().get(30, TimeUnit.SECONDS);
            }
        }
    }

    static void groups() throws Exception {
        try (Admin admin = Admin.create(common)) {
            Set<String> names = new TreeSet<>();
            for (var group : admin.listGroups().all().get(30, TimeUnit.SECONDS)) names.add(group.groupId());
            for (String name : names) {
                Map<String, String> lines = new TreeMap<>();
                var offsets = admin.listConsumerGroupOffsets(name).partitionsToOffsetAndMetadata().get(30, TimeUnit.SECONDS);
                offsets.forEach((at, committed) -> lines.put(at.toString(), committed.toString()));
                System.out.println(name + " " + lines);
            }
        }
    }

    static void topics() throws Exception {
        try (Admin admin = Admin.create(common)) {
            var names = new ArrayList<>(TOPICS.keySet());
            names.add("__consumer_offsets");
            for (var topic : new TreeMap<>(admin.describeTopics(names).allTopicNames().get(30, TimeUnit.SECONDS)).values()) {
                System.out.println(topic.name() + " " + topic.topicId() + " " + topic.partitions().size());
                var resource = new org.apache.kafka.common.config.ConfigResource(
                    org.apache.kafka.common.config.ConfigResource.Type.TOPIC, topic.name());
                var config = admin.describeConfigs(List.of(resource)).all().get(30, TimeUnit.SECONDS).get(resource);
                Map<String, String> own = new TreeMap<>();
                for (var entry : config.entries()) {
                    if (entry.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG) own.put(entry.name(), entry.value());
                }
                System.out.println(topic.name() + " " + own);
            }
        }
    }

    /** Where each group goes on, and how far it comes. */
    static void resume(String protocols) throws Exception {
        for (String protocol : protocols.split(",")) {
            try (var consumer = member(protocol)) {
                Map<Integer, Long> first = new TreeMap<>();
                Map<Integer, Integer> counts = new TreeMap<>();
                long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(90);
                while (true) {
                    if (System.nanoTime() > deadline) throw new IllegalStateException("stands still: " + counts);
                    for (var record : consumer.poll(Duration.ofMillis(500))) {
                        first.putIfAbsent(record.partition(), record.offset());
                        counts.merge(record.partition(), 1, Integer::sum);
                    }
                    var ends = consumer.endOffsets(consumer.assignment());
                    if (ends.size() == 2 && ends.entrySet().stream().allMatch(end -> consumer.position(end.getKey()) >= end.getValue())) break;
                }
                System.out.println(protocol + " from " + first + " " + counts);
            }
        }
    }

    static long read(String topic, int partition, String isolation, List<String> lines) {
        Map<String, Object> settings = new HashMap<>(common);
        settings.put("isolation.level", isolation);
        settings.put("enable.auto.commit", "false");
        var at = new TopicPartition(topic, partition);
        long count = 0;
        try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(List.of(at));
            consumer.seekToBeginning(List.of(at));
            long end = consumer.endOffsets(List.of(at)).get(at);
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
            while (consumer.position(at) < end) {
                if (System.nanoTime() > deadline) throw new IllegalStateException(at + " stands still at " + consumer.position(at));
                for (var record : consumer.poll(Duration.ofMillis(500))) {
                    List<String> headers = new ArrayList<>();
                    for (Header header : record.headers()) headers.add(header.key() + "=" + text(header.value()));
                    lines.add(String.join(" ", isolation, at.toString(), "" + record.offset(), record.timestampType() + ":" + record.timestamp(),
                        "epoch=" + record.leaderEpoch().orElse(-1), text(record.key()),
                        record.value() == null ? "null" : record.value().length + ":" + Arrays.hashCode(record.value()), headers.toString()));
                    count++;
                }
            }
        }
        return count;
    }

    static String text(byte[] bytes) {
        return bytes == null ? "null" : "'" + new String(bytes) + "'";
    }

    /** One line for each record, and for each answer about offsets. */
    static void read() throws Exception {
        List<String> lines = new ArrayList<>();
        for (var topic : TOPICS.entrySet()) {
            for (int partition = 0; partition < topic.getValue(); partition++) {
                for (String isolation : List.of("read_uncommitted", "read_committed")) {
                    read(topic.getKey(), partition, isolation, lines);
                }
                look(new TopicPartition(topic.getKey(), partition), lines);
            }
        }
        lines.forEach(System.out::println);
    }

    static void look(TopicPartition at, List<String> lines) throws Exception {
        try (Admin admin = Admin.create(common)) {
            Map<String, OffsetSpec> specs = new LinkedHashMap<>();
            specs.put("earliest", OffsetSpec.earliest());
            specs.put("latest", OffsetSpec.latest());
            specs.put("max", OffsetSpec.maxTimestamp());
            for (long ms = -1500; ms < 60_000; ms += 487) {
                specs.put("+" + ms, OffsetSpec.forTimestamp(FIRST_MS + ms));
            }
            for (var spec : specs.entrySet()) {
                var found = admin.listOffsets(Map.of(at, spec.getValue())).partitionResult(at).get(30, TimeUnit.SECONDS);
                lines.add("offset " + at + " " + spec.getKey() + " " + found.offset() + " at " + found.timestamp()
                    + " epoch=" + found.leaderEpoch().orElse(-1));
            }
        }
    }
}
