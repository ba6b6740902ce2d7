import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.serialization.*;

/**
 * Numbers go from topic to topic in transactions while the broker is killed again and again.
 *
 * One producer writes numbers to "in". A member of a group copies them to "out", each some of them and their offsets in one
 * transaction. That goes on until the standard input ends; then "out" is read as a reader of committed records sees it.
 *
 * usage: ExactlyOnce.java BOOTSTRAP
 */
public class ExactlyOnce {
    static final int PARTITIONS = 4;
    static final List<TopicPartition> IN = new ArrayList<>(), OUT = new ArrayList<>();
    static String bootstrap;
    static volatile boolean ended;

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        for (int partition = 0; partition < PARTITIONS; partition++) {
            IN.add(new TopicPartition("in", partition));
            OUT.add(new TopicPartition("out", partition));
        }
        var admin = Admin.create(config(Map.of()));
        admin.createTopics(List.of(new NewTopic("in", PARTITIONS, (short) 1), new NewTopic("out", PARTITIONS, (short) 1))).all().get();
        var stopping = new Thread(() -> {
            try {
                while (System.in.read() >= 0);
            } catch (java.io.IOException gone) {
                System.err.println(gone);
            }
            ended = true;
        });
        stopping.setDaemon(true);
        stopping.start();
        var generated = new FutureTask<>(ExactlyOnce::generate);
        new Thread(generated).start();
        pipe(admin, generated);
        read(generated.get());
        System.exit(0);
    }

    static Map<String, Object> config(Map<String, Object> more) {
        var config = new HashMap<String, Object>(Map.of(
            "bootstrap.servers", bootstrap, "reconnect.backoff.ms", 20, "reconnect.backoff.max.ms", 200));
        config.putAll(more);
        return config;
    }

    /** Writes numbers until the end; gives how many. */
    static int generate() throws Exception {
        var failed = new ConcurrentLinkedQueue<Exception>();
        int number = 0;
        try (var producer = new KafkaProducer<>(config(Map.of("linger.ms", 2, "delivery.timeout.ms", 120000)),
                new IntegerSerializer(), new IntegerSerializer())) {
            for (; !ended; number++) {
                producer.send(new ProducerRecord<>("in", number % PARTITIONS, null, number), (metadata, error) -> {
                    if (error != null) failed.add(error);
                });
                if (number % 10 == 0) Thread.sleep(10);
            }
        }
        if (!failed.isEmpty()) throw failed.peek();
        return number;
    }

    /** A consumer and a producer that are made anew after every error: what was begun is aborted then, and read again. */
    record Pipeline(KafkaConsumer<Integer, Integer> consumer, KafkaProducer<Integer, Integer> producer) implements AutoCloseable {
        static Pipeline start() {
            var producer = new KafkaProducer<>(config(Map.of(
                "transactional.id", "pipeline", "transaction.timeout.ms", 30000, "delivery.timeout.ms", 20000,
                "request.timeout.ms", 10000, "linger.ms", 0, "max.block.ms", 30000)), new IntegerSerializer(), new IntegerSerializer());
            try {
                producer.initTransactions();
            } catch (KafkaException error) {
                producer.close(Duration.ZERO);
                throw error;
            }
            var consumer = new KafkaConsumer<>(config(Map.of(
                "group.id", "pipeline", "enable.auto.commit", false, "auto.offset.reset", "earliest",
                "isolation.level", "read_committed", "session.timeout.ms", 6000, "heartbeat.interval.ms", 500,
                "fetch.max.wait.ms", 50)), new IntegerDeserializer(), new IntegerDeserializer());
            consumer.subscribe(List.of("in"));
            return new Pipeline(consumer, producer);
        }

        /** Copies some numbers; gives how many. */
        int step() {
            var records = consumer.poll(Duration.ofMillis(100));
            if (records.isEmpty()) return 0;
            producer.beginTransaction();
            var ends = new HashMap<TopicPartition, OffsetAndMetadata>();
            for (var record : records) {
                producer.send(new ProducerRecord<>("out", record.partition(), null, record.value()));
                ends.put(new TopicPartition("in", record.partition()), new OffsetAndMetadata(record.offset() + 1));
            }
            producer.sendOffsetsToTransaction(ends, consumer.groupMetadata());
            producer.commitTransaction();
            return records.count();
        }

        @Override
        public void close() {
            producer.close(Duration.ZERO);
            consumer.close(CloseOptions.timeout(Duration.ZERO));
        }
    }

    static void pipe(Admin admin, FutureTask<Integer> generated) throws Exception {
        Pipeline pipeline = null;
        long committed = 0;
        while (!isAllCommitted(admin, generated)) {
            try {
                if (pipeline == null) pipeline = Pipeline.start();
                int count = pipeline.step();
                committed += count;
                if (count > 0) System.out.println("# committed " + committed);
            } catch (KafkaException error) {
                System.err.println(error);
                if (pipeline != null) pipeline.close();
                pipeline = null;
            }
        }
        if (pipeline != null) pipeline.close();
    }

    /** An answer to a commit may be lost for good with its producer: its numbers are counted by their offsets. */
    static boolean isAllCommitted(Admin admin, FutureTask<Integer> generated) throws Exception {
        if (!generated.isDone()) return false;
        int count = generated.get();
        try {
            var offsets = admin.listConsumerGroupOffsets("pipeline").partitionsToOffsetAndMetadata().get();
            long sum = offsets.values().stream().filter(Objects::nonNull).mapToLong(OffsetAndMetadata::offset).sum();
            return sum == count;
        } catch (ExecutionException error) {
            System.err.println(error);
            return false;
        }
    }

    /** Looks at all numbers of "out". */
    static void read(int count) {
        var times = new TreeMap<Integer, Integer>();
        var last = new HashMap<Integer, Integer>();
        int unordered = 0;
        try (var consumer = new KafkaConsumer<>(config(Map.of("isolation.level", "read_committed", "auto.offset.reset", "earliest")),
                new IntegerDeserializer(), new IntegerDeserializer())) {
            consumer.assign(OUT);
            consumer.seekToBeginning(OUT);
            long deadline = System.nanoTime() + 60_000_000_000L, quietSince = System.nanoTime();
            while (System.nanoTime() < deadline && (times.size() < count || System.nanoTime() - quietSince < 2_000_000_000L)) {
                for (var record : consumer.poll(Duration.ofMillis(200))) {
                    times.merge(record.value(), 1, Integer::sum);
                    Integer before = last.put(record.partition(), record.value());
                    if (before != null && before > record.value()) unordered++;
                    quietSince = System.nanoTime();
                }
            }
        }
        long lost = java.util.stream.IntStream.range(0, count).filter(number -> !times.containsKey(number)).count();
        long twice = times.values().stream().filter(many -> many > 1).count();
        System.out.printf("{\"invented\":%d,\"lost\":%d,\"twice\":%d,\"unordered\":%d}%n",
            times.tailMap(count, true).size(), lost, twice, unordered);
    }
}
