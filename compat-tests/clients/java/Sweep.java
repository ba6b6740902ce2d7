import com.fasterxml.jackson.core.json.JsonReadFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.MissingNode;
import java.io.*;
import java.net.*;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.message.*;
import org.apache.kafka.common.protocol.*;
import org.apache.kafka.common.record.internal.*;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Every API in every version, as its definition in kafka-clients has it, to several brokers: a valid request, the same
 * with bytes behind its last field, with names that nobody has, without elements, with null in each field that null can
 * be written for, allowed or not, and with text that is not UTF-8 in each string.
 *
 * Kafka's own classes read the requests that are valid, and every answer: it must be one of that API and version, with
 * nothing left over. Writes, when all is done, a line for each answer, each error code in it and each list that has error
 * codes (its keys, sorted): broker, request, place, value, with tabs between.
 *
 * usage: Sweep.java BOOTSTRAP ..., with a line "key min_version max_version" on stdin for each API
 */
public class Sweep {
    static final String TOPIC = "sweep", GROUP = "sweep-group", UNKNOWN = "sweep-unknown";
    static final int TIMEOUT_MS = 20_000;
    /** Not UTF-8 at all, half a surrogate pair, a character cut short; each byte a character of ISO 8859-1. */
    static final String BAD_TEXT = "\u00ff\u00ed\u00a0\u0080b\u00c3";
    /** Fields by which the elements of a list are told apart in an answer. */
    static final List<String> KEYS = List.of("name", "topic", "topicName", "groupId", "resourceName", "key",
        "partitionIndex", "partition", "index", "memberId");

    public static void main(String[] args) throws Exception {
        List<short[]> apis = new BufferedReader(new InputStreamReader(System.in)).lines().map(line -> {
            String[] words = line.split(" ");
            return new short[] {Short.parseShort(words[0]), Short.parseShort(words[1]), Short.parseShort(words[2])};
        }).toList();
        ExecutorService threads = Executors.newCachedThreadPool(task -> {
            Thread thread = new Thread(task);
            thread.setDaemon(true);
            return thread;
        });
        List<Future<List<String>>> sweeps = new ArrayList<>();
        for (String bootstrap : args)
            sweeps.add(threads.submit(() -> new Sweep(bootstrap).run(apis)));
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);
        for (int i = 0; i < args.length; i++)
            for (String line : sweeps.get(i).get())
                out.println(args[i] + "\t" + line);
        out.flush();
    }

    /** What of a valid request is changed: everything of that kind, or the field at `path`. */
    record Variant(String kind, String path) {
        String label() {
            return path.isEmpty() ? kind : kind + " " + path;
        }

        boolean is(String kind, String path) {
            return this.kind.equals(kind) && this.path.equals(path);
        }
    }

    /** Kafka 4.4 never answers these: it waits for the answer of the last transaction, and there is none. */
    static final Set<String> UNANSWERED = Set.of("AddPartitionsToTxn v4 no elements",
            "AddPartitionsToTxn v5 no elements");

    final String bootstrap;
    final List<String> lines = new ArrayList<>();
    Uuid topicId;
    /** By their brokers: one that all are asked of, and those that coordinate the group and the transactions. */
    final Map<String, Connection> connections = new HashMap<>();
    String ofGroups, ofTransactions;
    /** Counts the requests, for what must be new in each. */
    int requests = 0;
    int made = 0, deleted = 0;

    Sweep(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    List<String> run(List<short[]> apis) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            CreateTopicsResult created = admin.createTopics(List.of(new NewTopic(TOPIC, 2, (short) 1)));
            topicId = created.topicId(TOPIC).get();
            // The clients ask again until there is a coordinator, a leader, and an id for a producer.
            admin.alterConsumerGroupOffsets(GROUP, Map.of(new TopicPartition(TOPIC, 0), new OffsetAndMetadata(7))).all().get();
        }
        try (Producer<byte[], byte[]> producer = new KafkaProducer<>(Map.of("bootstrap.servers", bootstrap),
                new ByteArraySerializer(), new ByteArraySerializer())) {
            producer.send(new ProducerRecord<>(TOPIC, new byte[0])).get();
        }
        try (Producer<byte[], byte[]> producer = new KafkaProducer<>(Map.of("bootstrap.servers", bootstrap,
                "transactional.id", TOPIC + "-setup"), new ByteArraySerializer(), new ByteArraySerializer())) {
            producer.initTransactions();
        } catch (KafkaException e) {
            // A broker without transactions has no coordinator of them to wait for.
        }
        String[] brokers = bootstrap.split(",");
        ofGroups = ofTransactions = brokers[0];
        if (brokers.length > 1)
            try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
                ofGroups = address(admin.describeConsumerGroups(List.of(GROUP)).all().get().get(GROUP).coordinator());
                String id = TOPIC + "-setup";
                int coordinator = admin.describeTransactions(List.of(id)).all().get().get(id).coordinatorId();
                for (Node node : admin.describeCluster().nodes().get())
                    if (node.id() == coordinator)
                        ofTransactions = address(node);
            }
        for (short[] api : apis) {
            ApiMessageType type = ApiMessageType.fromApiKey(api[0]);
            JsonNode definition = definition(type.name);
            for (short version = api[1]; version <= api[2]; version++)
                for (Variant variant : variants(definition, version))
                    if (!UNANSWERED.contains(type.name + " v" + version + " " + variant.label()))
                        exchange(type, version, variant, new Writer(definition, version, variant).request());
        }
        for (Connection connection : connections.values())
            connection.close();
        return lines;
    }

    static String address(Node node) {
        return node.host() + ":" + node.port();
    }

    /** The broker that is asked: whoever coordinates what the API is about. */
    String brokerFor(ApiMessageType type) {
        return switch (type) {
            case OFFSET_COMMIT, OFFSET_FETCH, JOIN_GROUP, HEARTBEAT, LEAVE_GROUP, SYNC_GROUP, DESCRIBE_GROUPS, LIST_GROUPS, DELETE_GROUPS,
                OFFSET_DELETE, TXN_OFFSET_COMMIT, CONSUMER_GROUP_HEARTBEAT, CONSUMER_GROUP_DESCRIBE -> ofGroups;
            case INIT_PRODUCER_ID, ADD_PARTITIONS_TO_TXN, ADD_OFFSETS_TO_TXN, END_TXN, DESCRIBE_TRANSACTIONS, LIST_TRANSACTIONS -> ofTransactions;
            default -> bootstrap.split(",")[0];
        };
    }

    static JsonNode definition(String name) throws IOException {
        JsonMapper mapper = JsonMapper.builder().enable(JsonReadFeature.ALLOW_JAVA_COMMENTS).build();
        try (InputStream in = ApiMessageType.class.getResourceAsStream("/common/message/" + name + "Request.json")) {
            return mapper.readTree(in);
        }
    }

    void exchange(ApiMessageType type, short version, Variant variant, byte[] body) throws Exception {
        String label = type.name + " v" + version + " " + variant.label();
        if (variant.path.isEmpty())
            checkRequest(label, type, version, body, variant.kind.equals("tail"));
        String broker = brokerFor(type);
        if (!connections.containsKey(broker))
            connections.put(broker, new Connection(broker));
        Connection connection = connections.get(broker);
        requests++;
        ByteBuffer answer;
        try {
            answer = connection.call(type, version, requests, body);
        } catch (SocketTimeoutException e) {
            throw new IllegalStateException(label + " is neither answered nor is the connection closed", e);
        }
        if (answer == null) {
            connection.close();
            connections.remove(broker);
            line(label, "outcome", "closed");
            return;
        }
        try {
            ApiMessage response = type.newResponse();
            response.read(new ByteBufferAccessor(answer), version);
            line(label, "outcome", answer.remaining() == 0 ? "answered" : answer.remaining() + " bytes left over");
            errorCodes(label, "", json(response, version));
        } catch (Exception e) {
            line(label, "outcome", "undecodable: " + e);
        }
    }

    /** Kafka's own class must read what was written, and write the same: this program's own test. */
    static void checkRequest(String label, ApiMessageType type, short version, byte[] body, boolean hasTail) {
        ByteBuffer input = ByteBuffer.wrap(body);
        ApiMessage request = type.newRequest();
        request.read(new ByteBufferAccessor(input), version);
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer output = ByteBuffer.allocate(request.size(cache, version));
        request.write(new ByteBufferAccessor(output), cache, version);
        byte[] read = Arrays.copyOf(body, input.position());
        if (input.hasRemaining() != hasTail || !Arrays.equals(output.array(), read))
            throw new IllegalStateException(label + " is not what Kafka writes: " + request);
    }

    static JsonNode json(ApiMessage message, short version) throws Exception {
        Class<?> converter = Class.forName(message.getClass().getName() + "JsonConverter");
        return (JsonNode) converter.getMethod("write", message.getClass(), short.class).invoke(null, message, version);
    }

    void errorCodes(String label, String place, JsonNode node) {
        if (node.isArray() && node.path(0).isObject()) {
            List<String> keys = IntStream.range(0, node.size()).mapToObj(i -> key(node.get(i), i)).toList();
            int before = lines.size();
            for (int i = 0; i < node.size(); i++)
                errorCodes(label, place + "[" + keys.get(i) + "]", node.get(i));
            if (lines.size() > before)
                line(label, place + ".(order)", keys.stream().sorted().collect(Collectors.joining(" ")));
        }
        node.properties().forEach(field -> {
            String name = field.getKey(), below = place.isEmpty() ? snake(name) : place + "." + snake(name);
            if (name.toLowerCase().endsWith("errorcode"))
                line(label, below, field.getValue().asInt() + " " + Errors.forCode((short) field.getValue().asInt()));
            else
                errorCodes(label, below, field.getValue());
        });
    }

    static String key(JsonNode element, int index) {
        return KEYS.stream().map(element::path).filter(value -> value.isInt() || value.isTextual() && !value.asText().isEmpty())
            .map(JsonNode::asText).findFirst().orElse("#" + index);
    }

    static String snake(String name) {
        return name.replaceAll("([a-z0-9])([A-Z])", "$1_$2").toLowerCase();
    }

    void line(String label, String place, String value) {
        lines.add(Stream.of(label, place, value).map(s -> s.replaceAll("\\s+", " ")).collect(Collectors.joining("\t")));
    }

    static List<Variant> variants(JsonNode definition, short version) {
        List<Variant> variants = new ArrayList<>();
        for (String kind : List.of("valid", "tail", "unknown names", "no elements"))
            variants.add(new Variant(kind, ""));
        fieldVariants(definition, definition.path("fields"), "", version, variants);
        return variants;
    }

    static void fieldVariants(JsonNode definition, JsonNode fields, String place, short version, List<Variant> variants) {
        for (JsonNode field : fields) {
            if (!has(field, "versions", version))
                continue;
            String type = field.get("type").asText(), element = type.replace("[]", "");
            String path = place + snake(field.get("name").asText());
            JsonNode members = members(definition, field);
            boolean isStruct = type.equals(element) && !members.isMissingNode();
            if (isStruct ? has(field, "nullableVersions", version) : type.startsWith("[]") || hasLength(type))
                variants.add(new Variant("null", path));
            if (element.equals("string"))
                variants.add(new Variant("text", path));
            fieldVariants(definition, members, path + ".", version, variants);
        }
    }

    /** Null records are allowed, but Kafka's handler fails on them and never answers. */
    static boolean hasLength(String type) {
        return Set.of("string", "bytes").contains(type);
    }

    /** The fields of a struct, which stand with it or are common to several. */
    static JsonNode members(JsonNode definition, JsonNode field) {
        if (field.has("fields"))
            return field.get("fields");
        String type = field.get("type").asText().replace("[]", "");
        for (JsonNode common : definition.path("commonStructs"))
            if (common.get("name").asText().equals(type))
                return common.get("fields");
        return MissingNode.getInstance();
    }

    /** Whether `version` is in a range like "3+", "0-12", "7" or "none". */
    static boolean has(JsonNode node, String range, short version) {
        String text = node.path(range).asText("none");
        if (text.equals("none"))
            return false;
        String[] ends = text.replace("+", "-" + Short.MAX_VALUE).split("-");
        return Short.parseShort(ends[0]) <= version && version <= Short.parseShort(ends[ends.length - 1]);
    }

    /** Writes one request as its definition has it. Unlike Kafka's classes it can write what is wrong. */
    class Writer {
        final JsonNode definition;
        final String api;
        final short version;
        final Variant variant;
        final boolean flexible;
        DataOutputStream out;
        ByteArrayOutputStream bytes;

        Writer(JsonNode definition, short version, Variant variant) {
            this.definition = definition;
            this.api = definition.get("name").asText().replace("Request", "");
            this.version = version;
            this.variant = variant;
            this.flexible = has(definition, "flexibleVersions", version);
        }

        byte[] request() throws IOException {
            return collect(() -> {
                struct(definition.get("fields"), "");
                if (variant.kind.equals("tail"))
                    out.write(new byte[] {1, 0, 0, (byte) 0xff});
            });
        }

        interface Writing {
            void run() throws IOException;
        }

        byte[] collect(Writing writing) throws IOException {
            ByteArrayOutputStream outerBytes = bytes;
            DataOutputStream outer = out;
            bytes = new ByteArrayOutputStream();
            out = new DataOutputStream(bytes);
            writing.run();
            byte[] written = bytes.toByteArray();
            bytes = outerBytes;
            out = outer;
            return written;
        }

        void struct(JsonNode fields, String place) throws IOException {
            TreeMap<Integer, byte[]> tagged = new TreeMap<>();
            for (JsonNode field : fields) {
                if (!has(field, "versions", version))
                    continue;
                String path = place + snake(field.get("name").asText());
                if (!has(field, "taggedVersions", version))
                    field(fields, field, path);
                else if (isAimedAt(path))
                    // Else it has its default, which is not written.
                    tagged.put(field.get("tag").asInt(), collect(() -> field(fields, field, path)));
            }
            if (!flexible)
                return;
            varint(tagged.size());
            for (Map.Entry<Integer, byte[]> field : tagged.entrySet()) {
                varint(field.getKey());
                varint(field.getValue().length);
                out.write(field.getValue());
            }
        }

        /** Whether the variant changes this field or one within it. */
        boolean isAimedAt(String path) {
            return variant.path.equals(path) || variant.path.startsWith(path + ".");
        }

        void field(JsonNode siblings, JsonNode field, String path) throws IOException {
            String type = field.get("type").asText();
            Object value = isAimedAt(path) ? present(siblings, field, path) : usual(siblings, field, path);
            boolean isNull = variant.is("null", path) || value == null;
            JsonNode members = members(definition, field);
            if (type.startsWith("[]")) {
                int count = variant.kind.equals("no elements") ? 0 : ((List<?>) (value == null ? List.of() : value)).size();
                length(isNull, count, true);
                for (int i = 0; !isNull && i < count; i++)
                    if (members.isMissingNode())
                        scalar(type.substring(2), ((List<?>) value).get(i), path);
                    else
                        struct(members, path + ".");
            } else if (!members.isMissingNode()) {
                if (has(field, "nullableVersions", version))
                    out.writeByte(isNull ? -1 : 1);
                if (!isNull)
                    struct(members, path + ".");
            } else if (isNull) {
                length(true, 0, !type.equals("string"));
            } else {
                scalar(type, value, path);
            }
        }

        void scalar(String type, Object value, String path) throws IOException {
            switch (type) {
                case "bool" -> out.writeBoolean((Boolean) value);
                case "int8" -> out.writeByte(((Number) value).intValue());
                case "int16", "uint16" -> out.writeShort(((Number) value).intValue());
                case "int32", "uint32" -> out.writeInt(((Number) value).intValue());
                case "int64" -> out.writeLong(((Number) value).longValue());
                case "float64" -> out.writeDouble(((Number) value).doubleValue());
                case "uuid" -> {
                    out.writeLong(((Uuid) value).getMostSignificantBits());
                    out.writeLong(((Uuid) value).getLeastSignificantBits());
                }
                default -> {
                    byte[] written = value instanceof String text ? text.getBytes(StandardCharsets.UTF_8) : (byte[]) value;
                    if (variant.is("text", path))
                        // Different for each, so that no request finds what another one has made.
                        written = (api + version + BAD_TEXT).getBytes(StandardCharsets.ISO_8859_1);
                    length(false, written.length, !type.equals("string"));
                    out.write(written);
                }
            }
        }

        void length(boolean isNull, int length, boolean wide) throws IOException {
            if (flexible)
                varint(isNull ? 0 : length + 1);
            else if (wide)
                out.writeInt(isNull ? -1 : length);
            else
                out.writeShort(isNull ? -1 : length);
        }

        void varint(int value) throws IOException {
            for (; value > 0x7f; value >>>= 7)
                out.writeByte(value & 0x7f | 0x80);
            out.writeByte(value);
        }

        /** What a valid request has here: null where that is the default, and what the table says. */
        Object usual(JsonNode siblings, JsonNode field, String path) {
            boolean nullable = has(field, "nullableVersions", version);
            switch (api + " " + path) {
                case "CreateTopics topics.assignments", "Fetch forgotten_topics_data", "SyncGroup assignments",
                     "ConsumerGroupHeartbeat topic_partitions" -> {
                    return List.of();
                }
                case "CreatePartitions topics.assignments", "InitProducerId transactional_id", "Produce transactional_id",
                     "OffsetCommit group_instance_id", "JoinGroup group_instance_id", "Heartbeat group_instance_id",
                     "SyncGroup group_instance_id", "LeaveGroup members.group_instance_id",
                     "DescribeTopicPartitions cursor" -> {
                    return null;
                }
                case "ConsumerGroupHeartbeat subscribed_topic_names" -> {
                    return present(siblings, field, path);
                }
                default -> {
                    boolean isNull = nullable && field.path("default").asText("").equals("null");
                    return isNull ? null : present(siblings, field, path);
                }
            }
        }

        Object present(JsonNode siblings, JsonNode field, String path) {
            String type = field.get("type").asText();
            if (type.startsWith("[]"))
                return List.of(members(definition, field).isMissingNode() ? scalarFor(siblings, type.substring(2), field, path) : "a struct");
            return members(definition, field).isMissingNode() ? scalarFor(siblings, type, field, path) : "a struct";
        }

        Object scalarFor(JsonNode siblings, String type, JsonNode field, String path) {
            boolean unknown = variant.kind.equals("unknown names");
            String text = field.path("default").asText("null");
            return switch (type) {
                case "bool" -> Boolean.parseBoolean(text) && !path.equals("allow_auto_topic_creation");
                case "string" -> string(path, unknown);
                case "bytes" -> new byte[] {0, 1, 2};
                case "records" -> records();
                case "uuid" -> !snake(field.get("name").asText()).equals("topic_id") || isNamed(siblings) ? Uuid.ZERO_UUID
                    : unknown ? new Uuid(7, 7) : topicId;
                default -> number(path, unknown ? 99 : 1, text);
            };
        }

        /** Where a topic has a name, it needs no id. */
        boolean isNamed(JsonNode siblings) {
            return StreamSupport.stream(siblings.spliterator(), false)
                .anyMatch(field -> field.get("name").asText().equals("Name") && has(field, "versions", version));
        }

        Object number(String path, int broker, String defaultValue) {
            return switch (path.substring(path.lastIndexOf('.') + 1)) {
                case "timeout_ms", "session_timeout_ms", "rebalance_timeout_ms", "transaction_timeout_ms" -> 10_000;
                case "max_wait_ms" -> 10;
                case "max_bytes", "partition_max_bytes" -> 1 << 20;
                case "broker_ids", "replicas" -> broker;
                // Nobody is to be unregistered.
                case "broker_id" -> 99;
                case "num_partitions", "replication_factor", "response_partition_limit" -> 1;
                case "count" -> 3;
                case "acks", "replica_id", "timestamp", "generation_id" -> -1;
                case "resource_type", "resource_types" -> 2;
                case "resource_type_filter", "pattern_type_filter" -> 1;
                case "operation", "permission_type" -> api.equals("CreateAcls") ? 3 : 1;
                default -> defaultValue.equals("null") || defaultValue.isEmpty() ? 0 : Long.decode(defaultValue);
            };
        }

        String string(String path, boolean unknown) {
            String name = path.substring(path.lastIndexOf('.') + 1);
            switch (api + " " + path) {
                case "CreateTopics topics.name" -> {
                    return unknown ? TOPIC : "sweep-made-" + made++;
                }
                case "DeleteTopics topics.name", "DeleteTopics topic_names" -> {
                    return unknown ? UNKNOWN : "sweep-made-" + deleted++;
                }
                case "JoinGroup group_id", "ConsumerGroupHeartbeat group_id", "ShareGroupHeartbeat group_id",
                     "StreamsGroupHeartbeat group_id", "DeleteGroups groups_names" -> {
                    return unknown ? "" : GROUP + "-" + requests;
                }
                case "JoinGroup member_id", "OffsetCommit member_id" -> {
                    return unknown ? UNKNOWN : "";
                }
                case "ConsumerGroupHeartbeat server_assignor" -> {
                    return "range";
                }
                case "AlterClientQuotas entries.ops.key" -> {
                    return "producer_byte_rate";
                }
                case "DescribeQuorum topics.topic_name" -> {
                    return unknown ? UNKNOWN : "__cluster_metadata";
                }
                case "Metadata topics.name" -> {
                    // Below version 4 it would be created, sooner or later.
                    return unknown && version >= 4 ? UNKNOWN : TOPIC;
                }
                default -> { }
            }
            if (path.endsWith("configs.name") || name.equals("configuration_keys"))
                return unknown ? "sweep.unknown" : "retention.ms";
            return switch (name) {
                case "value" -> "1000000";
                case "group_id", "group_ids", "groups", "key", "coordinator_keys" -> unknown ? UNKNOWN : GROUP;
                case "name", "topic", "topic_name", "resource_name", "topics", "subscribed_topic_names" ->
                    unknown && !path.startsWith("protocols") ? UNKNOWN : TOPIC;
                case "states_filter" -> unknown ? UNKNOWN : "Empty";
                case "types_filter" -> unknown ? UNKNOWN : "classic";
                case "state_filters" -> unknown ? UNKNOWN : "Ongoing";
                case "entity_type" -> unknown ? UNKNOWN : "client-id";
                case "protocol_type" -> "consumer";
                case "principal", "principal_filter" -> "User:sweep";
                case "host", "host_filter" -> "*";
                case "client_software_version" -> "1.0";
                default -> TOPIC;
            };
        }

        byte[] records() {
            SimpleRecord record = new SimpleRecord(System.currentTimeMillis(), null, "swept".getBytes(StandardCharsets.UTF_8));
            ByteBuffer buffer = MemoryRecords.withRecords(Compression.NONE, record).buffer();
            byte[] batch = new byte[buffer.remaining()];
            buffer.get(batch);
            return batch;
        }
    }

    static class Connection {
        final Socket socket = new Socket();
        final DataInputStream in;

        Connection(String broker) throws IOException {
            int colon = broker.lastIndexOf(':');
            socket.connect(new InetSocketAddress(broker.substring(0, colon), Integer.parseInt(broker.substring(colon + 1))));
            socket.setSoTimeout(TIMEOUT_MS);
            socket.setTcpNoDelay(true);
            in = new DataInputStream(new BufferedInputStream(socket.getInputStream()));
        }

        void close() throws IOException {
            socket.close();
        }

        /** The body of the answer; null when the connection is closed instead. */
        ByteBuffer call(ApiMessageType type, short version, int correlationId, byte[] body) throws IOException {
            RequestHeaderData header = new RequestHeaderData().setRequestApiKey(type.apiKey()).setRequestApiVersion(version)
                .setCorrelationId(correlationId).setClientId("sweep");
            short headerVersion = type.requestHeaderVersion(version);
            ObjectSerializationCache cache = new ObjectSerializationCache();
            int headerBytes = header.size(cache, headerVersion);
            ByteBuffer frame = ByteBuffer.allocate(4 + headerBytes + body.length);
            frame.putInt(headerBytes + body.length);
            header.write(new ByteBufferAccessor(frame), cache, headerVersion);
            frame.put(body);
            byte[] answer;
            try {
                socket.getOutputStream().write(frame.array());
                answer = in.readNBytes(in.readInt());
            } catch (EOFException | SocketException closed) {
                return null;
            }
            ByteBuffer input = ByteBuffer.wrap(answer);
            ResponseHeaderData answered = new ResponseHeaderData(new ByteBufferAccessor(input), type.responseHeaderVersion(version));
            if (answered.correlationId() != correlationId)
                throw new IllegalStateException("the answer to another request: " + answered.correlationId());
            return input;
        }
    }
}
