import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.*;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.serialization.*;

/** Kafka's Java client does what it is told; compat_tests::workload says what. usage: Commanded BOOTSTRAP */
public class Commanded {
    static final ObjectMapper JSON = new ObjectMapper();
    static String bootstrap;
    static KafkaProducer<byte[], String> producer;
    static KafkaConsumer<byte[], String> consumer;
    static List<Object> events = new ArrayList<>();

    /** The client's answer is an error; `abort`: the transaction is not committed, and can be aborted. */
    static final class Refused extends Exception {
        final boolean abort;

        Refused(Throwable error, boolean abort) {
            super(error.toString());
            this.abort = abort;
        }
    }

    public static void main(String[] args) throws IOException {
        bootstrap = args[0];
        PrintStream out = System.out;
        var in = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = in.readLine()) != null; ) {
            Object answer;
            try {
                answer = obey(JSON.readTree(line));
            } catch (Refused refused) {
                answer = Map.of("error", refused.getMessage(), "abort", refused.abort);
            } catch (Exception error) { // whatever the library throws is an answer that is not known
                answer = Map.of("error", error.toString());
            }
            out.println(JSON.writeValueAsString(answer));
            out.flush();
        }
        System.exit(0);
    }

    static Object obey(JsonNode command) throws Exception {
        switch (command.get("do").asText()) {
            case "producer" -> makeProducer(command);
            case "begin" -> producer.beginTransaction();
            case "send" -> { return send(command.get("records"), command.path("between_ms").asInt(0)); }
            case "send_offsets" -> inTransaction(() -> producer.sendOffsetsToTransaction(offsets(command), consumer.groupMetadata()));
            case "commit" -> inTransaction(() -> producer.commitTransaction());
            case "abort" -> inTransaction(() -> producer.abortTransaction());
            case "consumer" -> makeConsumer(command);
            case "assign" -> assign(command.get("positions"));
            case "poll" -> { return poll(command.get("count").asInt(), command.get("ms").asInt()); }
            case "commit_offsets" -> consumer.commitSync(offsets(command), Duration.ofSeconds(15));
        }
        return Map.of();
    }

    static Map<String, Object> common() {
        var config = new HashMap<String, Object>();
        config.put("bootstrap.servers", bootstrap);
        config.put("request.timeout.ms", 4000);
        config.put("reconnect.backoff.ms", 20);
        config.put("reconnect.backoff.max.ms", 500);
        return config;
    }

    static void makeProducer(JsonNode command) {
        if (producer != null) producer.close(Duration.ZERO);
        var config = common();
        config.put("linger.ms", 2);
        config.put("delivery.timeout.ms", 20000);
        config.put("max.block.ms", 20000);
        for (var over : command.path("config").properties()) config.put(over.getKey(), over.getValue().asText());
        boolean transactional = command.hasNonNull("transactional_id");
        if (transactional) {
            config.put("transactional.id", command.get("transactional_id").asText());
            config.put("transaction.timeout.ms", command.get("timeout_ms").asInt());
        }
        producer = new KafkaProducer<>(config, new ByteArraySerializer(), new StringSerializer());
        if (transactional) producer.initTransactions();
    }

    static Object send(JsonNode records, int betweenMs) throws InterruptedException {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        List<Object> acks = new ArrayList<>();
        for (JsonNode record : records) {
            if (!sent.isEmpty()) Thread.sleep(betweenMs);
            try {
                sent.add(producer.send(new ProducerRecord<>(record.get(0).asText(), record.get(1).asInt(), null, record.get(2).asText())));
            } catch (Exception error) {
                sent.add(CompletableFuture.failedFuture(error));
            }
        }
        for (var answer : sent) {
            try {
                acks.add(answer.get(30, TimeUnit.SECONDS).offset());
            } catch (Exception error) {
                acks.add(error.toString());
            }
        }
        return Map.of("acks", acks);
    }

    /** What a transaction is asked to do again and again while its answer is late. */
    static void inTransaction(Runnable call) throws Refused {
        for (int attempt = 1; ; attempt++) {
            try {
                call.run();
                return;
            } catch (org.apache.kafka.common.errors.TimeoutException late) {
                if (attempt == 2) throw new Refused(late, false);
            } catch (ProducerFencedException | OutOfOrderSequenceException | AuthorizationException | InvalidProducerEpochException fatal) {
                throw new Refused(fatal, false);
            } catch (KafkaException error) {
                throw new Refused(error, true);
            }
        }
    }

    static Map<TopicPartition, OffsetAndMetadata> offsets(JsonNode command) {
        var offsets = new HashMap<TopicPartition, OffsetAndMetadata>();
        for (JsonNode place : command.get("offsets")) offsets.put(partition(place), new OffsetAndMetadata(place.get(2).asLong()));
        return offsets;
    }

    static TopicPartition partition(JsonNode place) {
        return new TopicPartition(place.get(0).asText(), place.get(1).asInt());
    }

    static void makeConsumer(JsonNode command) {
        if (consumer != null) consumer.close(CloseOptions.timeout(Duration.ofSeconds(1)));
        events = new ArrayList<>();
        var config = common();
        config.put("group.id", command.get("group").asText());
        config.put("enable.auto.commit", false);
        config.put("auto.offset.reset", "earliest");
        config.put("isolation.level", command.get("committed").asBoolean() ? "read_committed" : "read_uncommitted");
        config.put("fetch.max.wait.ms", 50);
        config.put("max.poll.records", 20);
        config.put("default.api.timeout.ms", 15000);
        if (command.get("protocol").asText().equals("consumer")) {
            config.put("group.protocol", "consumer");
        } else {
            config.put("session.timeout.ms", 6000);
            config.put("heartbeat.interval.ms", 500);
            config.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer.RangeAssignor");
        }
        consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new StringDeserializer());
        if (command.hasNonNull("topic")) {
            consumer.subscribe(List.of(command.get("topic").asText()), new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> gone) {}

                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> got) {
                    List<Object> assigned = new ArrayList<>();
                    for (var partition : got) assigned.add(Arrays.asList(partition.topic(), partition.partition(), null));
                    events.add(List.of("assigned", assigned));
                }
            });
        } else if (command.hasNonNull("partitions")) {
            List<TopicPartition> partitions = new ArrayList<>();
            for (JsonNode place : command.get("partitions")) partitions.add(partition(place));
            consumer.assign(partitions);
        }
    }

    static void assign(JsonNode positions) {
        List<TopicPartition> partitions = new ArrayList<>();
        for (JsonNode place : positions) partitions.add(partition(place));
        consumer.assign(partitions);
        for (JsonNode place : positions) consumer.seek(partition(place), place.get(2).asLong());
    }

    static Object poll(int count, int ms) {
        long deadline = System.nanoTime() + ms * 1_000_000L;
        int read = 0;
        while (read == 0 && System.nanoTime() < deadline) {
            for (var record : consumer.poll(Duration.ofMillis(Math.min(ms, 200)))) {
                events.add(List.of("record", record.topic(), record.partition(), record.offset(), Long.parseLong(record.value())));
                read++;
            }
        }
        var answer = Map.of("events", events);
        events = new ArrayList<>();
        return answer;
    }
}
