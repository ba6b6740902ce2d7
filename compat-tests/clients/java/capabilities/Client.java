import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.*;

/** What the capabilities of Kafka's Java client share; for each of its versions. */
final class Client {
    static String bootstrap;
    static Admin admin;
    static final long NOW = System.currentTimeMillis() - 60_000; // old records are deleted
    static String topic; // of 2 partitions with 10 records each, one every millisecond from NOW on, in turn
    static TopicPartition first, second;

    static void start(String address) throws Exception {
        bootstrap = address;
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        topic = newTopic("java", 2);
        first = new TopicPartition(topic, 0);
        second = new TopicPartition(topic, 1);
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int number = 0; number < 20; number++)
            records.add(new ProducerRecord<>(topic, number % 2, NOW + number, bytes("key-" + number), bytes("value-" + number)));
        produce(Map.of(), records);
    }

    static <T> T done(KafkaFuture<T> future) throws Exception {
        return future.get(30, TimeUnit.SECONDS);
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static String newTopic(String name, int partitions, String... configs) throws Exception {
        String topic = Capability.unique(name);
        Map<String, String> settings = new HashMap<>();
        for (int at = 0; at < configs.length; at += 2) settings.put(configs[at], configs[at + 1]);
        done(admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(settings))).all());
        // Kafka's controller answers before its broker knows the topic.
        Capability.until("the topic is known", () -> done(admin.listTopics().names()).contains(topic));
        return topic;
    }

    static KafkaProducer<byte[], byte[]> producer(Map<String, Object> settings) {
        Map<String, Object> all = new HashMap<>(settings);
        all.put("bootstrap.servers", bootstrap);
        return new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static List<RecordMetadata> produce(Map<String, Object> settings, List<ProducerRecord<byte[], byte[]>> records) throws Exception {
        try (var producer = producer(settings)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (var record : records) sent.add(producer.send(record));
            producer.flush();
            List<RecordMetadata> delivered = new ArrayList<>();
            for (var future : sent) delivered.add(future.get(30, TimeUnit.SECONDS));
            return delivered;
        }
    }

    static List<ProducerRecord<byte[], byte[]>> plain(String topic, int count, int partitions) {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int number = 0; number < count; number++)
            records.add(new ProducerRecord<>(topic, number % partitions, bytes("key-" + number), bytes(("value-" + number).repeat(10))));
        return records;
    }

    /** Settings in pairs go before what is set here. */
    static KafkaConsumer<byte[], byte[]> consumer(String group, Object... settings) {
        Map<String, Object> all = new HashMap<>();
        all.put("bootstrap.servers", bootstrap);
        all.put("auto.offset.reset", "earliest");
        all.put("enable.auto.commit", "false");
        all.put("fetch.max.wait.ms", 50);
        if (group != null) all.put("group.id", group);
        for (int at = 0; at < settings.length; at += 2) all.put((String) settings[at], settings[at + 1]);
        if (!"consumer".equals(all.get("group.protocol"))) all.putIfAbsent("heartbeat.interval.ms", 300);
        return new KafkaConsumer<>(all, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static KafkaConsumer<byte[], byte[]> assigned(TopicPartition... partitions) {
        var consumer = consumer(null);
        consumer.assign(List.of(partitions));
        return consumer;
    }

    /** A member of the group that has read all 20 records of the topic. */
    static KafkaConsumer<byte[], byte[]> reading(String group, Object... settings) throws Exception {
        var consumer = consumer(group, settings);
        consumer.subscribe(List.of(topic));
        take(consumer, 20);
        return consumer;
    }

    static List<ConsumerRecord<byte[], byte[]>> take(Consumer<byte[], byte[]> consumer, int count) throws Exception {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        Capability.until(count + " records", () -> {
            for (var record : consumer.poll(Duration.ofMillis(100))) records.add(record);
            return records.size() >= count;
        });
        Capability.same(records.size(), count);
        return records;
    }

    static List<ConsumerRecord<byte[], byte[]>> readAll(String topic, int partitions, int count, Object... settings) throws Exception {
        try (var consumer = consumer(null, settings)) {
            List<TopicPartition> all = new ArrayList<>();
            for (int partition = 0; partition < partitions; partition++) all.add(new TopicPartition(topic, partition));
            consumer.assign(all);
            return take(consumer, count);
        }
    }

    static Long committed(String group, TopicPartition partition) {
        var found = committedWithMetadata(group, partition);
        return found == null ? null : (Long) found.offset();
    }

    static OffsetAndMetadata committedWithMetadata(String group, TopicPartition partition) {
        try (var consumer = consumer(group)) {
            return consumer.committed(Set.of(partition)).get(partition);
        }
    }

    /** A group without members that has committed offset 10 in both partitions. */
    static String closedGroup() throws Exception {
        String group = Capability.unique("closed");
        try (var consumer = reading(group)) {
            consumer.commitSync();
        }
        return group;
    }

    static String configOf(ConfigResource.Type type, String name, String key) throws Exception {
        var resource = new ConfigResource(type, name);
        var entry = done(admin.describeConfigs(List.of(resource)).all()).get(resource).get(key);
        return entry == null ? null : entry.value();
    }

    private Client() {}
}
