import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.tools.*;
import org.apache.kafka.tools.consumer.ConsoleConsumer;
import org.apache.kafka.tools.consumer.group.ShareGroupCommand;
import org.apache.kafka.tools.reassign.ReassignPartitionsCommand;
import org.apache.kafka.tools.streams.StreamsGroupCommand;

/**
 * Every tool of Kafka that talks to a broker and has no program of its own here, in its usual forms. Writes a transcript
 * ({@link Transcript}): what no two runs have in common has a name in it, lines whose order means nothing are sorted.
 *
 * usage: AdminTools BOOTSTRAP
 */
public class AdminTools {
    /** By the names of their scripts. */
    static final Map<String, Transcript.Tool> TOOLS = Map.ofEntries(
        Map.entry("kafka-topics", TopicCommand::main), Map.entry("kafka-configs", ConfigCommand::main),
        Map.entry("kafka-acls", AclCommand::main), Map.entry("kafka-leader-election", LeaderElectionCommand::main),
        Map.entry("kafka-reassign-partitions", ReassignPartitionsCommand::main),
        Map.entry("kafka-metadata-quorum", MetadataQuorumCommand::main), Map.entry("kafka-features", FeatureCommand::main),
        Map.entry("kafka-cluster", ClusterTool::main), Map.entry("kafka-log-dirs", LogDirsCommand::main),
        Map.entry("kafka-client-metrics", ClientMetricsCommand::main), Map.entry("kafka-groups", GroupsCommand::main),
        Map.entry("kafka-broker-api-versions", BrokerApiVersionsCommand::main),
        Map.entry("kafka-get-offsets", GetOffsetShell::main), Map.entry("kafka-delete-records", DeleteRecordsCommand::main),
        Map.entry("kafka-verifiable-producer", VerifiableProducer::main),
        Map.entry("kafka-verifiable-consumer", VerifiableConsumer::main),
        Map.entry("kafka-console-producer", ConsoleProducer::main), Map.entry("kafka-console-consumer", ConsoleConsumer::main),
        Map.entry("kafka-share-groups", ShareGroupCommand::main), Map.entry("kafka-streams-groups", StreamsGroupCommand::main));

    static String bootstrap;
    /** All brokers, which have all partitions. */
    static String brokers;
    static Admin admin;
    static int changes;
    static Path directory;
    /** What differs from run to run, and what stands for it. */
    static final Map<String, String> names = new LinkedHashMap<>();

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        brokers = IntStream.rangeClosed(1, bootstrap.split(",").length).mapToObj(String::valueOf).collect(Collectors.joining(","));
        directory = Files.createTempDirectory("admin-tools");
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        var dirs = admin.describeLogDirs(List.of(1)).allDescriptions().get().get(1).keySet();
        for (String dir : dirs) names.put(dir, "DIRECTORY");
        names.put(admin.describeCluster().clusterId().get(), "CLUSTER");
        names.put(directory.toString(), "HERE");
        names.put(bootstrap, "BROKER");
        names.put(bootstrap.replace(":", " "), "BROKER");
        topics();
        records();
        configs();
        replicas();
        cluster();
        features();
        groups();
        clientMetrics();
        topicsDeleted();
        Transcript.end();
    }

    static void topics() throws Exception {
        tool("kafka-topics --list");
        tool("kafka-topics --describe");
        tool("kafka-topics --create --topic orders --partitions 3");
        tool("kafka-topics --create --topic orders --partitions 3");
        tool("kafka-topics --create --topic orders --if-not-exists");
        tool("kafka-topics --create --topic audit.log --config retention.ms=1000 --config cleanup.policy=compact");
        tool("kafka-topics --create --topic audit_log");
        tool("kafka-topics --create --topic bad/name");
        tool("kafka-topics --create --topic wide --replication-factor 3");
        tool("kafka-topics --create --topic none --partitions 0");
        tool("kafka-topics --create --topic odd --config no.such.config=1");
        tool("kafka-topics --create --topic odd --config retention.ms=soon");
        tool("kafka-topics --create --topic placed --replica-assignment 1,1");
        tool("kafka-topics --create --topic displaced --replica-assignment 1,7");
        // Several brokers take it, and what follows is about the others.
        tool("kafka-topics --delete --if-exists --topic wide");
        tool("kafka-topics --list");
        tool("kafka-topics --list --exclude-internal");
        tool("kafka-topics --list --topic or.*");
        tool("kafka-topics --describe");
        tool("kafka-topics --describe --topic orders");
        tool("kafka-topics --describe --topic absent");
        tool("kafka-topics --describe --topic absent --if-exists");
        for (String state : List.of("under-replicated-partitions", "unavailable-partitions", "under-min-isr-partitions",
            "at-min-isr-partitions", "topics-with-overrides")) tool("kafka-topics --describe --" + state);
        tool("kafka-topics --alter --topic orders --partitions 4");
        tool("kafka-topics --alter --topic orders --partitions 4");
        tool("kafka-topics --alter --topic orders --partitions 2");
        tool("kafka-topics --alter --topic orders --partitions 5 --replica-assignment 1,1,1,1,1");
        tool("kafka-topics --create --topic grown");
        tool("kafka-topics --alter --topic grown --partitions 2 --replica-assignment 1,7");
        tool("kafka-topics --delete --topic grown");
        tool("kafka-topics --alter --topic absent --partitions 4");
        tool("kafka-topics --describe --topic orders");
    }

    static void topicsDeleted() throws Exception {
        tool("kafka-topics --delete --topic placed");
        tool("kafka-topics --delete --topic absent");
        tool("kafka-topics --delete --topic absent --if-exists");
        tool("kafka-topics --delete --topic orders");
        tool("kafka-topics --list");
    }

    static void records() throws Exception {
        tool("kafka-topics --create --topic lines --partitions 1");
        read("one\ntwo\nthree\n", "kafka-console-producer --topic lines");
        read("k:v\nno key\n", "kafka-console-producer --topic lines --reader-property parse.key=true --reader-property key.separator=:");
        tool("kafka-console-consumer --topic lines --from-beginning --max-messages 4 --timeout-ms 20000 --group printers --formatter-property print.key=true");
        tool("kafka-console-consumer --topic lines --partition 0 --offset 1 --max-messages 2 --timeout-ms 20000 --formatter-property print.offset=true");
        tool("kafka-console-consumer --topic lines --from-beginning --timeout-ms 500 --group readers");
        tool("kafka-verifiable-producer --topic lines --max-messages 3");
        tool("kafka-verifiable-consumer --topic lines --max-messages 3 --group-id verifiers --reset-policy earliest --group-protocol consumer");
        tool("kafka-verifiable-consumer --topic lines --max-messages 3 --group-id verifiers2 --reset-policy earliest --group-protocol classic --session-timeout 10000");
        tool("kafka-get-offsets");
        for (String time : List.of("earliest", "latest", "0", "-1", "earliest-local", "latest-tiered"))
            tool("kafka-get-offsets --topic lines --time " + time);
        tool("kafka-get-offsets --topic-partitions lines:0,orders:1-3");
        tool("kafka-get-offsets --topic absent");
        tool("kafka-get-offsets --topic orders --partitions 0,2");
        tool("kafka-get-offsets --exclude-internal-topics");
        String wanted = file("delete.json", "{'partitions': [{'topic': 'lines', 'partition': 0, 'offset': 2}], 'version': 1}");
        tool("kafka-delete-records --offset-json-file " + wanted);
        // One at a time: the tool tells of several as their answers come.
        wanted = file("too-many.json", "{'partitions': [{'topic': 'lines', 'partition': 0, 'offset': 9999}], 'version': 1}");
        tool("kafka-delete-records --offset-json-file " + wanted);
        wanted = file("all.json", "{'partitions': [{'topic': 'orders', 'partition': 0, 'offset': -1}], 'version': 1}");
        tool("kafka-delete-records --offset-json-file " + wanted);
        tool("kafka-get-offsets --topic lines --time earliest");
    }

    static void configs() throws Exception {
        String[] entities = {
            "--entity-type topics --entity-name orders", "--entity-type brokers --entity-name 1",
            "--entity-type brokers --entity-default", "--entity-type groups --entity-name readers"};
        String[] good = {"retention.ms=5000,cleanup.policy=[compact,delete]", "log.cleaner.threads=2", "message.max.bytes=2000000,log.retention.ms=70000",
            "consumer.session.timeout.ms=50000"};
        for (int at = 0; at < entities.length; at++) {
            tool("kafka-configs --describe " + entities[at]);
            tool("kafka-configs --alter " + entities[at] + " --add-config " + good[at]);
            tool("kafka-configs --alter " + entities[at] + " --add-config no.such.config=1");
            tool("kafka-configs --describe " + entities[at]);
            tool("kafka-configs --alter " + entities[at] + " --delete-config " + good[at].replaceAll("=[^,\\[]*(\\[[^\\]]*\\])?", ""));
            tool("kafka-configs --alter " + entities[at] + " --delete-config no.such.config");
            tool("kafka-configs --describe " + entities[at]);
        }
        tool("kafka-configs --describe --entity-type topics --entity-name orders --all");
        tool("kafka-configs --describe --entity-type groups --entity-name readers --all");
        tool("kafka-configs --describe --topic orders");
        tool("kafka-configs --alter --entity-type topics --entity-name orders --add-config retention.ms=soon");
        tool("kafka-configs --alter --entity-type topics --entity-name orders --add-config cleanup.policy=burn");
        tool("kafka-configs --alter --entity-type topics --entity-name absent --add-config retention.ms=5000");
        tool("kafka-configs --describe --entity-type topics --entity-name absent");
        tool("kafka-configs --alter --entity-type brokers --entity-name 1 --add-config node.id=3");
        tool("kafka-configs --describe --entity-type brokers --entity-name 9");
        for (String type : List.of("topics", "brokers", "groups", "users", "clients", "ips", "client-metrics"))
            tool("kafka-configs --describe --entity-type " + type);
        String ann = "--entity-type users --entity-name ann";
        tool("kafka-configs --alter " + ann + " --add-config SCRAM-SHA-256=[iterations=4096,password=secret]");
        tool("kafka-configs --alter " + ann + " --add-config SCRAM-SHA-512=[password=secret],consumer_byte_rate=1024");
        tool("kafka-configs --alter " + ann + " --add-config SCRAM-SHA-256=[iterations=12,password=secret]");
        tool("kafka-configs --describe " + ann);
        tool("kafka-configs --alter " + ann + " --delete-config SCRAM-SHA-256,SCRAM-SHA-512,consumer_byte_rate");
        tool("kafka-configs --describe " + ann);
        tool("kafka-acls --list");
        tool("kafka-acls --add --allow-principal User:ann --operation Read --topic orders");
    }

    static void replicas() throws Exception {
        for (String type : List.of("PREFERRED", "UNCLEAN")) {
            tool("kafka-leader-election --election-type " + type + " --topic orders --partition 0");
            tool("kafka-leader-election --election-type " + type + " --topic orders --partition 77");
            tool("kafka-leader-election --election-type " + type + " --topic absent --partition 0");
            tool("kafka-leader-election --election-type " + type + " --all-topic-partitions");
        }
        String some = file("elect.json", "{'partitions': [{'topic': 'orders', 'partition': 1}, {'topic': 'lines', 'partition': 0}]}");
        tool("kafka-leader-election --election-type PREFERRED --path-to-json-file " + some);

        String move = "kafka-reassign-partitions ";
        String topics = file("topics.json", "{'topics': [{'topic': 'orders'}, {'topic': 'lines'}], 'version': 1}");
        tool(move + "--generate --topics-to-move-json-file " + topics + " --broker-list " + brokers);
        tool(move + "--generate --topics-to-move-json-file " + topics + " --broker-list " + brokers + ",9");
        tool(move + "--generate --topics-to-move-json-file " + file("absent.json", "{'topics': [{'topic': 'absent'}], 'version': 1}") + " --broker-list " + brokers);
        // Whichever of several leads comes first.
        String there = admin.describeTopics(List.of("orders")).allTopicNames().get().get("orders").partitions().get(0).replicas()
            .stream().map(node -> node.idString()).collect(Collectors.joining(","));
        String stay = file("stay.json", reassignment("orders", 0, there, "any"));
        String here = file("here.json", reassignment("orders", 0, there, directoryOf()));
        String elsewhere = file("elsewhere.json", reassignment("orders", 0, there, "/elsewhere"));
        String away = file("away.json", reassignment("orders", 0, "7", "any"));
        String wide = file("wide.json", reassignment("orders", 0, "1,1", "any"));
        String absent = file("no-topic.json", reassignment("absent", 0, brokers, "any"));
        for (String file : List.of(stay, here, elsewhere, wide, absent)) {
            tool(move + "--execute --reassignment-json-file " + file);
            tool(move + "--verify --reassignment-json-file " + file);
            tool(move + "--cancel --reassignment-json-file " + file);
        }
        tool(move + "--execute --reassignment-json-file " + stay + " --throttle 1000 --replica-alter-log-dirs-throttle 1000");
        tool("kafka-configs --describe --entity-type topics --entity-name orders");
        tool(move + "--verify --reassignment-json-file " + stay);
        tool("kafka-configs --describe --entity-type topics --entity-name orders");
        // To verify and to cancel it, the tool waits for the broker that is not there, for a minute.
        tool(move + "--execute --reassignment-json-file " + away);
        tool(move + "--execute --disallow-replication-factor-change --reassignment-json-file " + stay);
        tool(move + "--list");
        tool("kafka-log-dirs --describe");
        tool("kafka-log-dirs --describe --broker-list 1 --topic-list orders,lines");
        tool("kafka-log-dirs --describe --broker-list 1 --topic-list absent");
        tool("kafka-log-dirs --describe --broker-list 7");
    }

    static void cluster() throws Exception {
        tool("kafka-metadata-quorum describe --status");
        tool("kafka-metadata-quorum describe --replication");
        tool("kafka-metadata-quorum describe --replication --human-readable");
        tool("kafka-metadata-quorum describe --status --replication");
        tool("kafka-metadata-quorum remove-controller --controller-id 7 --controller-directory-id AAAAAAAAAAAAAAAAAAAAAQ");
        tool("kafka-cluster cluster-id");
        tool("kafka-cluster unregister --id 7");
        tool("kafka-cluster list-endpoints");
        tool("kafka-cluster list-endpoints --include-fenced-brokers");
        tool("kafka-broker-api-versions");
    }

    static void features() throws Exception {
        tool("kafka-features describe");
        tool("kafka-features version-mapping");
        tool("kafka-features version-mapping --release-version 4.3");
        tool("kafka-features feature-dependencies --feature transaction.version=2 --feature group.version=1");
        tool("kafka-features upgrade --feature group.version=1");
        tool("kafka-features upgrade --feature transaction.version=2 --feature group.version=1 --dry-run");
        tool("kafka-features upgrade --feature group.version=2");
        tool("kafka-features upgrade --feature group.version=2 --dry-run");
        tool("kafka-features upgrade --feature no.such.version=1");
        tool("kafka-features upgrade --metadata 4.4");
        tool("kafka-features upgrade --release-version 4.4");
        tool("kafka-features downgrade --metadata 3.9");
        tool("kafka-features downgrade --feature metadata.version=5");
        tool("kafka-features downgrade --feature group.version=1");
        tool("kafka-features disable --feature no.such.version");
        tool("kafka-features upgrade --feature group.version");
        tool("kafka-features upgrade");
    }

    static void groups() throws Exception {
        tool("kafka-groups --list");
        tool("kafka-groups --list --consumer");
        tool("kafka-groups --list --share");
        tool("kafka-groups --list --streams");
        tool("kafka-groups --list --group-type classic");
        tool("kafka-groups --list --group-type odd");
        tool("kafka-groups --list --protocol consumer");
        for (String tool : List.of("kafka-share-groups", "kafka-streams-groups")) {
            tool(tool + " --list");
            tool(tool + " --describe --group readers");
            tool(tool + " --describe --group absent");
            tool(tool + " --describe --all-groups");
            tool(tool + " --delete --group absent");
        }
    }

    static void clientMetrics() throws Exception {
        tool("kafka-client-metrics --list");
        tool("kafka-client-metrics --describe");
        tool("kafka-client-metrics --describe --name absent");
        tool("kafka-client-metrics --alter --name often --metrics org.apache.kafka.producer.,org.apache.kafka.consumer. --interval 1000 --match client_id=a.*,client_software_name=apache-kafka-java");
        tool("kafka-client-metrics --alter --name never --interval 5");
        tool("kafka-client-metrics --alter --name bad --match planet=earth");
        tool("kafka-client-metrics --alter --name bad --match client_id=(");
        tool("kafka-client-metrics --list");
        tool("kafka-client-metrics --describe");
        tool("kafka-client-metrics --describe --name often");
        tool("kafka-configs --describe --entity-type client-metrics --entity-name often --all");
        tool("kafka-configs --alter --entity-type client-metrics --entity-name often --add-config metrics=*");
        tool("kafka-configs --alter --entity-type client-metrics --entity-name often --add-config no.such.config=1");
        tool("kafka-configs --alter --entity-type client-metrics --entity-name often --delete-config match");
        tool("kafka-configs --describe --entity-type client-metrics --entity-name often");
        tool("kafka-client-metrics --delete --name often");
        tool("kafka-client-metrics --delete --name absent");
        tool("kafka-client-metrics --list");
    }

    // How they are asked and told.

    static void tool(String command) throws Exception {
        read("", command);
    }

    static void read(String input, String command) throws Exception {
        List<String> words = List.of(command.split(" "));
        String name = words.get(0);
        // Their commands have words of their own, which come behind.
        List<String> args = new ArrayList<>(List.of("--bootstrap-server", bootstrap));
        if (name.equals("kafka-cluster")) args.add(0, words.get(1));
        args.addAll(words.subList(name.equals("kafka-cluster") ? 2 : 1, words.size()));
        var said = Transcript.run(TOOLS.get(name), input, args.toArray(String[]::new));
        List<String> lines = said.lines().filter(line -> !isAssignedNothing(line)).map(AdminTools::named).map(AdminTools::measured).flatMap(AdminTools::byOne).toList();
        if (name.equals("kafka-log-dirs")) lines = lines.stream().map(AdminTools::partitionsSorted).toList();
        if (SORTED.matcher(command).find()) lines = lines.stream().map(AdminTools::sortedList).sorted().toList();
        Transcript.tell(byOne(named(command)).findFirst().orElseThrow(), said, lines.stream(), said.errors().map(AdminTools::named).map(AdminTools::measured).limit(2));
        if (CHANGES.matcher(command).find()) settle();
    }

    /** What Kafka has answered everybody can see a moment later: what comes after it, too, when that can be seen. */
    static void settle() throws Exception {
        var mark = new ConfigResource(ConfigResource.Type.GROUP, "mark");
        String key = "consumer.session.timeout.ms", value = String.valueOf(46_000 + ++changes);
        var change = new AlterConfigOp(new ConfigEntry(key, value), AlterConfigOp.OpType.SET);
        admin.incrementalAlterConfigs(Map.of(mark, List.of(change))).all().get();
        while (!value.equals(admin.describeConfigs(List.of(mark)).all().get().get(mark).get(key).value())) Thread.sleep(5);
    }

    static final Pattern CHANGES = Pattern.compile("--(alter|create|delete|execute|verify|cancel)\\b");

    /** What these say is in the order of a hash. */
    static final Pattern SORTED = Pattern.compile("kafka-configs|kafka-topics --(describe|list)|kafka-groups|kafka-client-metrics|kafka-get-offsets|kafka-acls");

    /** Settings are a hash set, too. */
    static String sortedList(String line) {
        Matcher settings = Pattern.compile("(?<=Configs: |are: )\\S.*").matcher(line);
        return settings.replaceAll(list -> Matcher.quoteReplacement(Stream.of(list.group().split(",(?=[a-z]+\\.)|, ")).sorted().collect(Collectors.joining(","))));
    }

    /** What was measured is there, and that is all that two runs have in common. */
    static String measured(String line) {
        return line.replaceAll("TopicId: \\S+", "TopicId: ID")
            .replaceAll("\"timestamp\":\\d+", "\"timestamp\":TIME").replaceAll("\"(size|totalBytes|usableBytes)\":[1-9]\\d*", "\"$1\":N")
            .replaceAll("Epoch: \\d+", "Epoch: N").replaceAll("(__consumer_offsets:\\d+):\\d+", "$1:N")
            // The quorum's.
            .replaceAll("(HighWatermark|LeaderEpoch|MaxFollowerLagTimeMs): +\\d+", "$1: N").replaceAll("directoryId\": \"[\\w-]{22}", "directoryId\": \"ID")
            .replaceAll("^(\\d+ *\t)[\\w-]{22}\t\\d+ *\t(\\d+ *\t)(\\d+|\\d+ ms ago) *\t(\\d+|\\d+ ms ago) *\t", "$1ID\tN\t$2TIME\tTIME\t")
            .replaceAll("directoryId=[\\w-]{22}", "directoryId=ID");
    }

    /** What is told of several brokers, as if the first were the only one. Some lines are about the others. */
    static Stream<String> byOne(String line) {
        if (!bootstrap.contains(",")) return Stream.of(line);
        if (line.matches("[2-9] *\t.*")) return Stream.of();
        return Stream.of(line.replaceAll("ReplicationFactor: [1-9]", "ReplicationFactor: 1")
            .replaceAll("(Leader|Replicas|Isr|LeaderId): ( *)[1-3](,[1-3])*", "$1: $21")
            .replaceAll("\"(replicas|log_dirs)\":\\[([^,\\]]*)(,[^\\]]*)?\\]", "\"$1\":[$2]")
            .replaceAll("\"replicas\":\\[[1-3]\\]", "\"replicas\":[1]")
            .replaceAll("(brokers?|broker-list) [1-3](,[1-3])*(?=,9| |$)", "$1 1"));
    }

    /**
     * A consumer is assigned topics by their ids. If the heartbeat's answer comes before the metadata's, it does not know what
     * they are called, and tells its program of the part that it knows: nothing yet.
     */
    static boolean isAssignedNothing(String line) {
        return line.contains("\"partitions_assigned\",\"partitions\":[]");
    }

    /** A directory's partitions are a hash map's. */
    static String partitionsSorted(String line) {
        Matcher list = Pattern.compile("(?<=\"partitions\":\\[)\\{[^\\]]*\\}(?=\\])").matcher(line);
        return list.replaceAll(all -> Matcher.quoteReplacement(Stream.of(all.group().split("(?<=\\}),")).sorted().collect(Collectors.joining(","))));
    }

    static String named(String text) {
        for (var name : names.entrySet()) text = text.replace(name.getKey(), name.getValue());
        return text;
    }

    static String directoryOf() {
        return names.entrySet().stream().filter(name -> name.getValue().equals("DIRECTORY")).findFirst().orElseThrow().getKey();
    }

    static String reassignment(String topic, int partition, String replicas, String dir) {
        String dirs = Arrays.stream(replicas.split(",")).map(replica -> "'" + dir + "'").collect(Collectors.joining(","));
        return "{'version': 1, 'partitions': [{'topic': '" + topic + "', 'partition': " + partition + ", 'replicas': [" + replicas
            + "], 'log_dirs': [" + dirs + "]}]}";
    }

    static String file(String name, String json) throws Exception {
        return Files.writeString(directory.resolve(name), json.replace('\'', '"')).toString();
    }
}
