import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.*;

/** For the tests across clients; usage: as that of confluent-kafka. */
public class Across {
    static final String[][] RECORDS = {
        {null, "a null key"}, {"", "an empty key"}, {"key", null}, {"key", ""}, {"k\u00e9y", "headers ".repeat(20)}};

    public static void main(String[] args) throws Exception {
        Map<String, Object> settings = new HashMap<>(Map.of("bootstrap.servers", args[1]));
        if (args[0].equals("write")) {
            write(settings, args[2], Long.parseLong(args[3]));
        } else if (args[0].equals("read")) {
            read(settings, Arrays.asList(args).subList(2, args.length));
        } else {
            settings.putAll(Map.of("group.id", args[3], "group.protocol", args[4]));
            if (args[4].equals("classic"))
                settings.putAll(Map.of("partition.assignment.strategy", RangeAssignor.class.getName(), "heartbeat.interval.ms", 300));
            try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                consumer.subscribe(List.of(args[2]));
                while (!ended()) consumer.poll(Duration.ofMillis(50));
            }
        }
        System.out.println("end");
        System.exit(0);
    }

    private static volatile Thread reader;
    private static volatile boolean ended;

    static boolean ended() {
        if (reader == null) {
            reader = new Thread(() -> {
                try {
                    while (System.in.read() >= 0) {}
                } catch (java.io.IOException error) {
                    // It has ended, too.
                }
                ended = true;
            });
            reader.setDaemon(true);
            reader.start();
        }
        return ended;
    }

    static byte[] bytes(String text) {
        return text == null ? null : text.getBytes(StandardCharsets.UTF_8);
    }

    static void write(Map<String, Object> settings, String prefix, long base) {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            settings.putAll(Map.of("compression.type", codec, "linger.ms", 50));
            try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
                for (int index = 0; index < RECORDS.length; index++) {
                    var record = new ProducerRecord<>(prefix + "-" + codec, 0, base + index, bytes(RECORDS[index][0]), bytes(RECORDS[index][1]));
                    if (index == 4) record.headers().add("a", bytes("1")).add("a", bytes("2")).add("empty", bytes(""));
                    producer.send(record);
                }
            }
        }
    }

    static void read(Map<String, Object> settings, List<String> topics) {
        settings.put("auto.offset.reset", "earliest");
        try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions = new ArrayList<>();
            for (String topic : topics) partitions.add(new TopicPartition(topic, 0));
            consumer.assign(partitions);
            for (int left = topics.size() * RECORDS.length; left > 0;)
                for (var record : consumer.poll(Duration.ofMillis(100))) {
                    StringJoiner headers = new StringJoiner(",", "[", "]");
                    for (Header header : record.headers()) headers.add(header.key() + "=" + digits(header.value()));
                    System.out.println(String.join(" ", record.topic(), "" + record.offset(), "" + record.timestamp(),
                        digits(record.key()), digits(record.value()), headers.toString()));
                    left--;
                }
        }
    }

    static String digits(byte[] bytes) {
        if (bytes == null) return "null";
        StringBuilder digits = new StringBuilder("x");
        for (byte one : bytes) digits.append(String.format("%02x", one));
        return digits.toString();
    }
}
