import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.tools.GetOffsetShell;
import org.apache.kafka.tools.TransactionsCommand;

/**
 * kafka-transactions in all its forms, and kafka-get-offsets, on transactions in every state. Writes a transcript: what was
 * asked, and what came back.
 *
 * What no two runs have in common has a name in it, lines whose order means nothing are sorted. The last line is "end".
 *
 * The topic "hung" must have a transaction in partition 0 that no coordinator knows, an hour old.
 *
 * usage: TransactionTools BOOTSTRAP
 */
public class TransactionTools {
    static final Transcript.Tool TRANSACTIONS = TransactionsCommand::main, OFFSETS = GetOffsetShell::main;
    /** Producer ids, and whose they are. */
    static final Map<String, String> names = new LinkedHashMap<>();
    static String bootstrap;
    static Admin admin;

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        admin.createTopics(List.of(new NewTopic("out", 2, (short) 1), new NewTopic("quiet", 1, (short) 1))).all().get();

        producer("idle").close();
        try (var producer = producer("committed")) {
            begin(producer, "out", 0);
            producer.commitTransaction();
        }
        try (var producer = producer("aborted")) {
            begin(producer, "out", 1);
            producer.abortTransaction();
        }
        var open = producer("open");
        begin(open, "out", 0);
        open.send(new ProducerRecord<>("out", 1, null, "open")).get();
        var consumer = new KafkaConsumer<>(Map.<String, Object>of("bootstrap.servers", bootstrap, "group.id", "group"),
            new StringDeserializer(), new StringDeserializer());
        open.sendOffsetsToTransaction(Map.of(new TopicPartition("quiet", 0), new OffsetAndMetadata(3)),
            consumer.groupMetadata());
        var gone = producer("gone");
        begin(gone, "out", 1);

        look();
        list();
        describe();
        findHanging();
        abort();
        tool(TRANSACTIONS, "forceTerminateTransaction", "--transactionalId", "gone");
        tool(TRANSACTIONS, "forceTerminateTransaction", "--transactionalId", "gone");
        tool(TRANSACTIONS, "forceTerminateTransaction", "--transactionalId", "never-seen");
        open.commitTransaction();
        tool(TRANSACTIONS, "describe", "--transactional-id", "gone");
        tool(TRANSACTIONS, "describe", "--transactional-id", "open");
        tool(TRANSACTIONS, "list");
        look();
        Transcript.end();
    }

    static KafkaProducer<String, String> producer(String id) {
        var producer = new KafkaProducer<>(Map.<String, Object>of("bootstrap.servers", bootstrap, "transactional.id", id),
            new StringSerializer(), new StringSerializer());
        producer.initTransactions();
        return producer;
    }

    static void begin(KafkaProducer<String, String> producer, String topic, int partition) throws Exception {
        producer.beginTransaction();
        producer.send(new ProducerRecord<>(topic, partition, null, "value")).get();
    }

    static void look() throws Exception {
        for (String topic : List.of("out", "hung", "quiet")) tool(TRANSACTIONS, "describe-producers", "--topic", topic, "--partition", "0");
        tool(TRANSACTIONS, "describe-producers", "--topic", "out", "--partition", "1", "--broker-id", "1");
        for (String time : List.of("earliest", "latest", "max-timestamp"))
            tool(OFFSETS, "--topic-partitions", "out,hung,quiet", "--time", time);
    }

    static void list() throws Exception {
        tool(TRANSACTIONS, "list");
        tool(TRANSACTIONS, "list", "--duration-filter", "-1");
        tool(TRANSACTIONS, "list", "--duration-filter", "1000000000");
        tool(TRANSACTIONS, "list", "--transactional-id-pattern", "o.*");
        tool(TRANSACTIONS, "list", "--transactional-id-pattern", "ope");
        tool(TRANSACTIONS, "list", "--transactional-id-pattern", "(");
        for (var state : TransactionState.values())
            call("transactions in state " + state, () -> admin.listTransactions(new ListTransactionsOptions().filterStates(Set.of(state)))
                .all().get().stream().map(TransactionListing::transactionalId).sorted().toList());
        call("longer than nothing", () -> admin.listTransactions(new ListTransactionsOptions().filterOnDuration(0))
            .all().get().stream().map(TransactionListing::transactionalId).sorted().toList());
    }

    static void describe() throws Exception {
        for (String id : List.of("idle", "committed", "aborted", "open", "gone", "hanging", "never-seen"))
            tool(TRANSACTIONS, "describe", "--transactional-id", id);
    }

    static void findHanging() throws Exception {
        tool(TRANSACTIONS, "find-hanging");
        tool(TRANSACTIONS, "find-hanging", "--broker-id", "1");
        tool(TRANSACTIONS, "find-hanging", "--broker-id", "1", "--max-transaction-timeout", "120");
        tool(TRANSACTIONS, "find-hanging", "--topic", "hung");
        tool(TRANSACTIONS, "find-hanging", "--topic", "hung", "--partition", "0");
        tool(TRANSACTIONS, "find-hanging", "--topic", "out");
        tool(TRANSACTIONS, "find-hanging", "--partition", "0");
    }

    static void abort() throws Exception {
        tool(TRANSACTIONS, "abort", "--topic", "hung", "--partition", "0", "--start-offset", "7");
        tool(TRANSACTIONS, "abort", "--topic", "hung", "--partition", "0");
        tool(TRANSACTIONS, "abort", "--topic", "hung", "--partition", "0", "--start-offset", "0");
        tool(TRANSACTIONS, "find-hanging", "--topic", "hung");
        tool(TRANSACTIONS, "abort", "--topic", "hung", "--partition", "0", "--start-offset", "0");
        // As older brokers want it, with an epoch that no producer has.
        var active = admin.describeProducers(List.of(new TopicPartition("out", 1))).all().get().get(new TopicPartition("out", 1)).activeProducers().stream()
            .filter(producer -> producer.currentTransactionStartOffset().isPresent())
            .max(Comparator.comparing(ProducerState::producerId)).orElseThrow();
        tool(TRANSACTIONS, "abort", "--topic", "out", "--partition", "1", "--producer-id", String.valueOf(active.producerId()),
            "--producer-epoch", String.valueOf(active.producerEpoch() - 1), "--coordinator-epoch", "0");
    }

    // How it is asked and told.

    static void tool(Transcript.Tool tool, String... args) throws Exception {
        for (var listed : admin.listTransactions().all().get())
            names.put(String.valueOf(listed.producerId()), "PRODUCER-OF-" + listed.transactionalId());
        var said = Transcript.run(tool, Transcript.join(List.of("--bootstrap-server", bootstrap), args));
        String name = tool == OFFSETS ? "kafka-get-offsets " : "kafka-transactions ";
        Transcript.tell(name + named(String.join(" ", args)), said, table(said.out()).stream(), said.errors().map(TransactionTools::named));
    }

    /** The rows of a table in an order of their own, with a name for what differs from run to run. */
    static List<String> table(String text) {
        List<String> lines = text.lines().map(String::strip).filter(line -> !line.isEmpty()).toList();
        if (lines.isEmpty() || !lines.get(0).contains("\t")) return lines.stream().map(TransactionTools::named).toList();
        String[] heads = lines.get(0).split("\\s*\t\\s*");
        List<String> rows = new ArrayList<>();
        for (String line : lines.subList(1, lines.size())) {
            String[] cells = line.split("\\s*\t\\s*");
            for (int at = 0; at < cells.length && at < heads.length; at++) cells[at] = cell(heads[at], cells[at].strip());
            rows.add(String.join(" | ", cells));
        }
        Collections.sort(rows);
        rows.add(0, String.join(" | ", heads));
        return rows;
    }

    static String cell(String head, String value) {
        return switch (head) {
            case "ProducerId" -> value.equals("-1") ? value : names.getOrDefault(value, "UNKNOWN");
            // That there is one is all that two runs have in common.
            case "LastTimestamp", "CurrentTransactionStartTimeMs", "TransactionDurationMs", "StartTimeMs", "Duration(min)", "LastTimestampMs" ->
                value.equals("None") || value.equals("-1") ? value : "SOME";
            case "TopicPartitions" -> Stream.of(value.split(",")).map(String::strip).map(partition ->
                partition.replaceAll("__consumer_offsets-\\d+", "__consumer_offsets-N")).sorted().collect(Collectors.joining(","));
            // Of several brokers any, and it begins with a claim, which has an epoch of its own.
            case "CoordinatorId", "Coordinator" -> bootstrap.contains(",") && value.matches("[1-3]") ? "1" : value;
            case "LatestCoordinatorEpoch", "CoordinatorEpoch" -> bootstrap.contains(",") && value.equals("1") ? "0" : value;
            default -> value;
        };
    }

    static String named(String text) {
        for (var name : names.entrySet())
            text = text.replaceAll("(?<=--producer-id |producerId=)" + name.getKey() + "\\b", name.getValue());
        if (bootstrap.contains(",")) text = text.replaceAll("sent to broker [1-3] ", "sent to broker 1 ");
        return text.replace(bootstrap, "BROKER");
    }

    static void call(String what, Callable<Object> called) throws Exception {
        Transcript.out.println("> " + what);
        try {
            Transcript.out.println(named(String.valueOf(called.call())));
        } catch (ExecutionException error) {
            Transcript.out.println("! " + named(String.valueOf(error.getCause())));
        }
        Transcript.out.println();
    }
}
