import static org.apache.kafka.streams.CloseOptions.GroupMembershipOperation.LEAVE_GROUP;

import java.nio.file.*;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.*;
import org.apache.kafka.streams.state.*;

/** Kafka Streams: words are counted, in a store with a changelog, behind a topic that puts them in order. */
public final class Streams {
    static String bootstrap;
    static Admin admin;

    /** An application that counts the words of its topic. */
    static final class WordCount implements AutoCloseable {
        final String application, input, output;
        final Map<String, Object> settings = new HashMap<>();
        KafkaStreams streams;
        volatile Throwable failure;

        WordCount(String name) throws Exception {
            application = Capability.unique(name);
            input = application + "-lines";
            output = application + "-counts";
            admin.createTopics(List.of(new NewTopic(input, 2, (short) 1), new NewTopic(output, 1, (short) 1))).all().get();
        }

        String changelog() {
            return application + "-counts-store-changelog";
        }

        String repartition() {
            return application + "-words-repartition";
        }

        void start() throws Exception {
            streams = instance("one");
            runs();
        }

        void runs() throws Exception {
            Capability.until("it runs", () -> {
                if (failure != null) throw new ExecutionException(failure);
                return streams.state() == KafkaStreams.State.RUNNING;
            });
        }

        KafkaStreams instance(String name) throws Exception {
            var builder = new StreamsBuilder();
            builder.stream(input, Consumed.with(Serdes.String(), Serdes.String()))
                .flatMapValues(line -> List.of(line.split(" ")))
                .groupBy((key, word) -> word, Grouped.with("words", Serdes.String(), Serdes.String()))
                .count(Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("counts-store"))
                .toStream()
                .to(output, Produced.with(Serdes.String(), Serdes.Long()));
            var directory = Files.createTempDirectory("ottla-streams-" + name);
            directory.toFile().deleteOnExit();
            Map<String, Object> all = new HashMap<>(Map.of(
                "application.id", application,
                "bootstrap.servers", bootstrap,
                "state.dir", directory.toString(),
                "default.key.serde", Serdes.StringSerde.class,
                "default.value.serde", Serdes.StringSerde.class,
                "commit.interval.ms", 100,
                "repartition.purge.interval.ms", 100,
                "consumer.auto.offset.reset", "earliest",
                "consumer.fetch.max.wait.ms", 50,
                "consumer.heartbeat.interval.ms", 300));
            all.putAll(settings);
            var properties = new Properties();
            properties.putAll(all);
            var instance = new KafkaStreams(builder.build(), properties);
            instance.setUncaughtExceptionHandler(error -> {
                failure = error;
                return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
            });
            instance.start();
            return instance;
        }

        void lines(String... lines) throws Exception {
            try (var producer = new KafkaProducer<>(Map.<String, Object>of("bootstrap.servers", bootstrap), new StringSerializer(), new StringSerializer())) {
                for (int at = 0; at < lines.length; at++) producer.send(new ProducerRecord<>(input, at % 2, null, lines[at])).get();
            }
        }

        /** The newest count of each word in a topic of counts. */
        Map<String, Long> counts(String topic) throws Exception {
            Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "isolation.level", "read_committed");
            Map<String, Long> counts = new TreeMap<>();
            try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new LongDeserializer())) {
                List<TopicPartition> partitions = new ArrayList<>();
                for (var partition : consumer.partitionsFor(topic)) partitions.add(new TopicPartition(topic, partition.partition()));
                consumer.assign(partitions);
                consumer.seekToBeginning(partitions);
                var ends = consumer.endOffsets(partitions);
                while (partitions.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition)))
                    for (var record : consumer.poll(Duration.ofMillis(100))) counts.put(record.key(), record.value());
            }
            return counts;
        }

        void become(Map<String, Long> expected) throws Exception {
            Capability.until("the counts are " + expected, () -> {
                if (failure != null) throw new ExecutionException(failure);
                return counts(output).equals(expected);
            });
        }

        long stored(String word) {
            ReadOnlyKeyValueStore<String, Long> store = streams.store(StoreQueryParameters.fromNameAndType("counts-store", QueryableStoreTypes.keyValueStore()));
            Long count = store.get(word);
            return count == null ? 0 : count;
        }

        @Override
        public void close() {
            if (streams != null) leave(streams);
        }
    }

    /** Its tasks do not wait for its return, and its directory is empty. */
    static void leave(KafkaStreams instance) {
        var leaving = org.apache.kafka.streams.CloseOptions.groupMembershipOperation(LEAVE_GROUP);
        instance.close(leaving.withTimeout(Duration.ofSeconds(20)));
        instance.cleanUp();
    }

    static String config(String topic, String key) throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        return admin.describeConfigs(List.of(resource)).all().get().get(resource).get(key).value();
    }

    static int partitions(String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size();
    }

    static Map<TopicPartition, Long> offsets(String topic, OffsetSpec of) throws Exception {
        Map<TopicPartition, OffsetSpec> asked = new HashMap<>();
        for (int partition = 0; partition < partitions(topic); partition++) asked.put(new TopicPartition(topic, partition), of);
        Map<TopicPartition, Long> found = new HashMap<>();
        admin.listOffsets(asked).all().get().forEach((partition, info) -> found.put(partition, info.offset()));
        return found;
    }

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        var app = new WordCount("count");
        Map<String, Long> expected = new TreeMap<>(Map.of("a", 3L, "b", 2L, "c", 1L));
        app.lines("a b", "b a c", "a");

        Capability.of("words are counted", () -> {
            app.start();
            app.become(expected);
        });
        Capability.of("the store is asked", () -> Capability.same(app.stored("a"), 3L));
        Capability.of("the changelog is compacted and complete", () -> {
            Capability.same(config(app.changelog(), "cleanup.policy"), "compact");
            Capability.same(partitions(app.changelog()), 2);
            Capability.same(app.counts(app.changelog()), expected);
        });
        Capability.of("the repartition topic is emptied behind the application", () -> {
            Capability.same(config(app.repartition(), "cleanup.policy"), "delete");
            Capability.same(config(app.repartition(), "retention.ms"), "-1");
            Capability.until("it is empty", () -> offsets(app.repartition(), OffsetSpec.earliest()).equals(offsets(app.repartition(), OffsetSpec.latest())));
        });
        Capability.of("a second instance takes its share", () -> {
            var second = app.instance("two");
            Capability.until("both have tasks", () -> {
                long busy = 0;
                for (var instance : List.of(app.streams, second))
                    busy += instance.metadataForLocalThreads().stream().anyMatch(thread -> !thread.activeTasks().isEmpty()) ? 1 : 0;
                return busy == 2 && second.state() == KafkaStreams.State.RUNNING;
            });
            app.lines("a b", "c");
            expected.replaceAll((word, count) -> count + 1);
            app.become(expected);
            leave(second);
            app.runs();
        });
        Capability.of("without its directory, it reads its store from the changelog", () -> {
            app.close();
            app.start();
            Capability.until("the store is back", () -> app.stored("a") == 4 && app.stored("c") == 2);
            app.lines("a");
            expected.merge("a", 1L, Long::sum);
            app.become(expected);
        });
        Capability.of("its group is committed up to the end", () -> {
            Capability.until("no lag", () -> {
                var committed = admin.listConsumerGroupOffsets(app.application).partitionsToOffsetAndMetadata().get();
                Map<TopicPartition, Long> found = new HashMap<>();
                committed.forEach((partition, offset) -> {
                    if (partition.topic().equals(app.input)) found.put(partition, offset.offset());
                });
                return found.equals(offsets(app.input, OffsetSpec.latest()));
            });
        });
        app.close();

        Capability.of("exactly once, by transactions", () -> {
            try (var exactly = new WordCount("exactly")) {
                exactly.settings.put("processing.guarantee", "exactly_once_v2");
                exactly.lines("a b", "b a c", "a");
                exactly.start();
                exactly.become(Map.of("a", 3L, "b", 2L, "c", 1L));
            }
        });
        Capability.of("group.protocol=streams, a streamsgroup", () -> {
            try (var grouped = new WordCount("grouped")) {
                grouped.settings.put("group.protocol", "streams");
                grouped.settings.remove("consumer.heartbeat.interval.ms");
                grouped.lines("a b", "b a c", "a");
                grouped.start();
                grouped.become(Map.of("a", 3L, "b", 2L, "c", 1L));
            }
        });
        System.exit(0);
    }
}
