import static org.apache.spark.sql.functions.*;

import java.nio.file.*;
import java.sql.Timestamp;
import java.util.*;
import java.util.stream.*;
import org.apache.commons.io.FileUtils;
import org.apache.kafka.clients.admin.*;
import org.apache.spark.sql.*;
import org.apache.spark.sql.streaming.*;

/** Spark: batches from topics and to them, and streams that go on where they were. */
public final class Spark {
    static String bootstrap;
    static SparkSession spark;

    static Dataset<Row> read(Map<String, String> options) {
        return spark.read().format("kafka").option("kafka.bootstrap.servers", bootstrap).options(options).load();
    }

    static void write(String topic, int from, int until) {
        List<String> values = IntStream.range(from, until).mapToObj(number -> "value-" + number).collect(Collectors.toList());
        spark.createDataset(values, Encoders.STRING()).selectExpr("value as key", "value")
            .write().format("kafka").option("kafka.bootstrap.servers", bootstrap).option("topic", topic).save();
    }

    static Set<String> values(Dataset<Row> rows) {
        return new TreeSet<>(rows.selectExpr("cast(value as string)").as(Encoders.STRING()).collectAsList());
    }

    static Set<String> expected(int from, int until) {
        return IntStream.range(from, until).mapToObj(number -> "value-" + number).collect(Collectors.toCollection(TreeSet::new));
    }

    /** Takes what is there since the checkpoint from one topic to the other, and ends. */
    static void copy(String from, String to, Path checkpoint) throws Exception {
        StreamingQuery query = spark.readStream().format("kafka").option("kafka.bootstrap.servers", bootstrap)
            .option("subscribe", from).option("startingOffsets", "earliest").load()
            // A row that keeps its partition would go to the partition of that number.
            .select("key", "value").writeStream().format("kafka").option("kafka.bootstrap.servers", bootstrap).option("topic", to)
            .option("checkpointLocation", checkpoint.toString()).trigger(Trigger.AvailableNow()).start();
        query.awaitTermination();
    }

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        Path directory = Files.createTempDirectory("ottla-spark-");
        spark = SparkSession.builder().master("local[2]").appName("capabilities").config("spark.ui.enabled", false)
            .config("spark.sql.shuffle.partitions", 2).config("spark.sql.warehouse.dir", directory.resolve("warehouse").toString())
            .config("spark.local.dir", directory.toString()).config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
            .getOrCreate();
        spark.sparkContext().setLogLevel("WARN");
        String topic = Capability.unique("spark"), copied = Capability.unique("copied");
        try (var admin = Admin.create(Map.of("bootstrap.servers", (Object) bootstrap))) {
            admin.createTopics(List.of(new NewTopic(topic, 2, (short) 1), new NewTopic(copied, 1, (short) 1))).all().get();
        }

        Capability.of("a batch is written", () -> write(topic, 0, 100));
        Capability.of("a batch is read", () -> {
            Dataset<Row> rows = read(Map.of("subscribe", topic));
            Capability.same(values(rows), expected(0, 100));
            Capability.same(rows.select("partition").distinct().count(), 2L);
        });
        Capability.of("topics by pattern", () -> Capability.same(values(read(Map.of("subscribePattern", topic + ".*"))), expected(0, 100)));
        Capability.of("from offsets to offsets", () -> {
            String first = "{\"" + topic + "\": {\"0\": 3, \"1\": 0}}", last = "{\"" + topic + "\": {\"0\": 8, \"1\": 0}}";
            Dataset<Row> rows = read(Map.of("subscribe", topic, "startingOffsets", first, "endingOffsets", last));
            Capability.same(rows.agg(min("offset"), max("offset"), count("offset")).first(), RowFactory.create(3L, 7L, 5L));
        });
        Capability.of("from a time", () -> {
            Timestamp last = read(Map.of("subscribe", topic)).agg(max("timestamp")).first().getTimestamp(0);
            var later = Map.of("subscribe", topic, "startingTimestamp", String.valueOf(last.getTime() + 60_000), "startingOffsetsByTimestampStrategy", "latest");
            Capability.same(read(later).count(), 0L);
            var earlier = Map.of("subscribe", topic, "startingTimestamp", String.valueOf(last.getTime() - 600_000));
            Capability.same(read(earlier).count(), 100L);
        });
        Capability.of("headers", () -> {
            String name = Capability.unique("headers");
            spark.sql("select 'v' as value, array(struct('a' as key, cast('1' as binary) as value)) as headers")
                .write().format("kafka").option("kafka.bootstrap.servers", bootstrap).option("includeHeaders", true).option("topic", name).save();
            Row row = read(Map.of("subscribe", name, "includeHeaders", "true")).selectExpr("headers[0].key", "cast(headers[0].value as string)").first();
            Capability.same(row, RowFactory.create("a", "1"));
        });
        Path checkpoint = directory.resolve("checkpoint");
        Capability.of("a stream copies a topic", () -> {
            copy(topic, copied, checkpoint);
            Capability.same(values(read(Map.of("subscribe", copied))), expected(0, 100));
        });
        Capability.of("started again, it goes on where it was", () -> {
            write(topic, 100, 150);
            copy(topic, copied, checkpoint);
            Dataset<Row> rows = read(Map.of("subscribe", copied));
            Capability.same(rows.count(), 150L);
            Capability.same(values(rows), expected(0, 150));
        });
        Capability.of("a stream that counts follows what is written", () -> {
            StreamingQuery query = spark.readStream().format("kafka").option("kafka.bootstrap.servers", bootstrap)
                .option("subscribe", topic).option("startingOffsets", "earliest").load()
                .groupBy("topic").count().writeStream().format("memory").queryName("counts").outputMode("complete").start();
            for (int end : new int[] {150, 170}) {
                if (end > 150) write(topic, 150, end);
                query.processAllAvailable();
                Capability.same(spark.sql("select count from counts").first().getLong(0), (long) end);
            }
            query.stop();
        });
        spark.stop();
        FileUtils.deleteQuietly(directory.toFile());
        System.exit(0);
    }
}
