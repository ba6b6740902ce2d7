import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.*;

/** Create a topic, produce with each compression, consume in a group, commit, describe: with defaults. */
public class Smoke {
    static final String TOPIC = "smoke", GROUP = "smokers";
    static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");

    public static void main(String[] args) throws Exception {
        Map<String, Object> common = Map.of("bootstrap.servers", args[0]);
        try (Admin admin = Admin.create(common)) {
            admin.createTopics(List.of(new NewTopic(TOPIC, 2, (short) 1))).all().get(30, TimeUnit.SECONDS);

            Set<String> expected = new TreeSet<>();
            for (String codec : CODECS) {
                Map<String, Object> settings = new HashMap<>(common);
                settings.put("compression.type", codec);
                try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
                    List<Future<RecordMetadata>> sent = new ArrayList<>();
                    for (int number = 0; number < 20; number++) {
                        String name = codec + "-" + number;
                        expected.add(name);
                        var record = new ProducerRecord<>(TOPIC, number % 2, codec, (name + " ").repeat(20));
                        record.headers().add("codec", codec.getBytes());
                        sent.add(producer.send(record));
                    }
                    for (var future : sent) future.get(30, TimeUnit.SECONDS);
                }
            }

            Map<String, Object> settings = new HashMap<>(common);
            settings.put("group.id", GROUP);
            settings.put("auto.offset.reset", "earliest");
            settings.put("enable.auto.commit", "false");
            try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
                consumer.subscribe(List.of(TOPIC));
                Set<String> seen = new TreeSet<>();
                int count = 0;
                boolean headersKept = true;
                long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
                while (count < 100 && System.nanoTime() < deadline) {
                    for (var record : consumer.poll(Duration.ofSeconds(1))) {
                        seen.add(record.value().split(" ")[0]);
                        headersKept &= new String(record.headers().lastHeader("codec").value()).equals(record.key());
                        count++;
                    }
                }
                consumer.commitSync();
                var description = admin.describeConsumerGroups(List.of(GROUP)).all().get(30, TimeUnit.SECONDS).get(GROUP);
                var committed = admin.listConsumerGroupOffsets(GROUP).partitionsToOffsetAndMetadata().get(30, TimeUnit.SECONDS);
                var config = new org.apache.kafka.common.config.ConfigResource(
                    org.apache.kafka.common.config.ConfigResource.Type.TOPIC, TOPIC);
                var configs = admin.describeConfigs(List.of(config)).all().get(30, TimeUnit.SECONDS).get(config);
                System.out.println("all_there=" + (seen.equals(expected) && count == 100)
                    + " headers_kept=" + headersKept
                    + " state=" + description.groupState()
                    + " members=" + description.members().size()
                    + " committed=" + committed.get(new TopicPartition(TOPIC, 0)).offset()
                    + "," + committed.get(new TopicPartition(TOPIC, 1)).offset()
                    + " segment.bytes=" + configs.get("segment.bytes").value());
            }
        }
    }
}
