import java.time.Duration;
import java.util.*;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Pattern;
import java.util.stream.*;
import org.apache.flink.api.common.*;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.serialization.SimpleStringSchema;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.*;
import org.apache.flink.connector.kafka.source.*;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Flink: bounded jobs, and streams with checkpoints that go on where they were. */
public final class Flink {
    static String bootstrap;
    static Admin admin;
    /** How often the copying job has failed. */
    static final AtomicInteger failures = new AtomicInteger();

    /** Each job has a cluster of its own in this process. */
    static StreamExecutionEnvironment environment() {
        Map<String, String> settings = Map.of(
            "parallelism.default", "2",
            "execution.checkpointing.interval", "200 ms",
            "restart-strategy.type", "fixed-delay",
            "restart-strategy.fixed-delay.attempts", "1",
            "restart-strategy.fixed-delay.delay", "100 ms");
        return StreamExecutionEnvironment.getExecutionEnvironment(Configuration.fromMap(settings));
    }

    static KafkaSourceBuilder<String> source() {
        return KafkaSource.<String>builder().setBootstrapServers(bootstrap).setStartingOffsets(OffsetsInitializer.earliest())
            .setValueOnlyDeserializer(new SimpleStringSchema());
    }

    static KafkaSinkBuilder<String> sink(String topic) {
        var serializer = KafkaRecordSerializationSchema.<String>builder().setTopic(topic)
            .setKeySerializationSchema(new SimpleStringSchema()).setValueSerializationSchema(new SimpleStringSchema()).build();
        return KafkaSink.<String>builder().setBootstrapServers(bootstrap).setRecordSerializer(serializer)
            .setDeliveryGuarantee(DeliveryGuarantee.AT_LEAST_ONCE);
    }

    static void write(KafkaSink<String> sink, int from, int until) throws Exception {
        var environment = environment();
        environment.fromData(expected(from, until)).sinkTo(sink);
        environment.execute();
    }

    /** What a bounded job takes from its topics, up to where they end now. */
    static List<String> read(KafkaSourceBuilder<String> source) throws Exception {
        List<String> values = environment().fromSource(source.setBounded(OffsetsInitializer.latest()).build(), WatermarkStrategy.noWatermarks(), "source")
            .executeAndCollect(1000);
        return sorted(values.stream());
    }

    /** The values of `from` until before `until`, as {@link #sorted} has them. */
    static List<String> expected(int from, int until) {
        return sorted(IntStream.range(from, until).mapToObj(number -> "value-" + number));
    }

    static List<String> sorted(Stream<String> values) {
        return values.sorted().collect(Collectors.toList());
    }

    /** Starts to copy what is written, from where its group has committed; it fails once at the value, if there is one. */
    static JobClient copy(String from, String to, String group, String failing) throws Exception {
        var environment = environment();
        var source = source().setTopics(from).setGroupId(group).setStartingOffsets(OffsetsInitializer.committedOffsets(OffsetResetStrategy.EARLIEST));
        environment.fromSource(source.build(), WatermarkStrategy.noWatermarks(), "source")
            .map(value -> {
                if (value.equals(failing) && failures.incrementAndGet() == 1) throw new IllegalStateException("on purpose");
                return value;
            })
            .sinkTo(sink(to).build());
        return environment.executeAsync();
    }

    /** All values of a topic. */
    static List<String> values(String topic) throws Exception {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "isolation.level", "read_committed");
        List<String> values = new ArrayList<>();
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            var ends = ends(topic);
            consumer.assign(ends.keySet());
            consumer.seekToBeginning(ends.keySet());
            while (ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue()))
                for (var record : consumer.poll(Duration.ofMillis(100))) values.add(record.value());
        }
        return sorted(values.stream());
    }

    static Map<TopicPartition, Long> ends(String topic) throws Exception {
        Map<TopicPartition, OffsetSpec> asked = new HashMap<>();
        for (var partition : admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions())
            asked.put(new TopicPartition(topic, partition.partition()), OffsetSpec.latest());
        Map<TopicPartition, Long> ends = new HashMap<>();
        admin.listOffsets(asked).all().get().forEach((partition, end) -> ends.put(partition, end.offset()));
        return ends;
    }

    /** Cancels a job and waits for its end. */
    static void stop(JobClient job) throws Exception {
        job.cancel().get();
        Capability.refused("JobCancellationException", () -> job.getJobExecutionResult().get());
    }

    /** Waits for the group's offsets: a reader that is idle commits when its poll has ended, after ten seconds. */
    static void committed(String group, String topic) throws Exception {
        Capability.until("the group is committed up to the end", () -> {
            Map<TopicPartition, Long> offsets = new HashMap<>();
            admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().forEach((partition, offset) -> offsets.put(partition, offset.offset()));
            return offsets.equals(ends(topic));
        });
    }

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        String topic = Capability.unique("flink"), copied = Capability.unique("copied"), exact = Capability.unique("exact"), group = Capability.unique("copiers");
        List<NewTopic> topics = List.of(new NewTopic(topic, 2, (short) 1), new NewTopic(copied, 1, (short) 1), new NewTopic(exact, 1, (short) 1));
        admin.createTopics(topics).all().get();

        Capability.of("a bounded job writes", () -> {
            write(sink(topic).build(), 0, 100);
            Capability.same(values(topic), expected(0, 100));
        });
        Capability.of("a bounded job reads", () -> Capability.same(read(source().setTopics(topic)), expected(0, 100)));
        Capability.of("a bounded job reads topics by pattern", () -> Capability.same(read(source().setTopicPattern(Pattern.compile(topic + ".*"))), expected(0, 100)));
        Capability.of("a bounded job reads from offsets", () -> {
            var ends = ends(topic);
            ends.replaceAll((partition, end) -> end - 3);
            Capability.same(read(source().setPartitions(Set.copyOf(ends.keySet())).setStartingOffsets(OffsetsInitializer.offsets(ends))).size(), 6);
        });
        Capability.of("a bounded job reads from a time", () -> {
            long now = System.currentTimeMillis();
            Capability.same(read(source().setTopics(topic).setStartingOffsets(OffsetsInitializer.timestamp(now + 60_000))).size(), 0);
            Capability.same(read(source().setTopics(topic).setStartingOffsets(OffsetsInitializer.timestamp(now - 600_000))), expected(0, 100));
        });
        Capability.of("a stream from topic to topic commits with its checkpoints", () -> {
            JobClient job = copy(topic, copied, group, null);
            committed(group, topic);
            stop(job);
            Capability.same(values(copied), expected(0, 100));
        });
        Capability.of("started again, it goes on from its committed offsets", () -> {
            write(sink(topic).build(), 100, 150);
            JobClient job = copy(topic, copied, group, null);
            committed(group, topic);
            stop(job);
            Capability.same(values(copied), expected(0, 150));
        });
        Capability.of("after a failure it goes on from its checkpoint, at least once", () -> {
            JobClient job = copy(topic, copied, group, "value-160");
            write(sink(topic).build(), 150, 170);
            committed(group, topic);
            stop(job);
            Capability.same(failures.get(), 2);
            List<String> values = values(copied);
            Capability.same(sorted(values.stream().distinct()), expected(0, 170));
            // What its checkpoints have behind them does not come again.
            values.removeAll(expected(150, 170));
            Capability.same(values, expected(0, 150));
        });
        Capability.of("a sink writes exactly once, by transactions", () -> {
            var sink = sink(exact).setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE).setTransactionalIdPrefix(exact)
                .setProperty("transaction.timeout.ms", "60000").setProperty("max.block.ms", "10000");
            write(sink.build(), 0, 100);
            Capability.same(values(exact), expected(0, 100));
        });
        System.exit(0);
    }
}
