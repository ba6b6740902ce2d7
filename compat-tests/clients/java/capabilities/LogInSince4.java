import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Logs in, sends records for some seconds, and reads one back: BOOTSTRAP MECHANISM USER PASSWORD TOPIC SECONDS.
 *
 * For GSSAPI they are a principal and the file with its key. With TLS_CA in the environment it encrypts, and shows
 * TLS_CERT; mechanism NONE logs in with no more than that.
 */
public final class LogInSince4 {
    public static void main(String[] args) throws Exception {
        Properties settings = new Properties();
        settings.putAll(Map.of(
                "bootstrap.servers", args[0],
                "max.block.ms", "15000",
                "group.id", "java",
                "auto.offset.reset", "earliest"));
        String authority = System.getenv("TLS_CA");
        if (args[1].equals("NONE")) {
            settings.put("security.protocol", "SSL");
        } else {
            settings.putAll(Map.of(
                    "security.protocol", authority == null ? "SASL_PLAINTEXT" : "SASL_SSL",
                    "sasl.mechanism", args[1],
                    "sasl.kerberos.service.name", "kafka",
                    "sasl.jaas.config", String.format(module(args[1]), args[2], args[3])));
        }
        if (authority != null) {
            settings.putAll(Map.of("ssl.truststore.type", "PEM", "ssl.truststore.location", authority));
        }
        if (System.getenv("TLS_CERT") != null) {
            settings.putAll(Map.of("ssl.keystore.type", "PEM", "ssl.keystore.location", System.getenv("TLS_CERT")));
        }
        try {
            send(settings, args[4], Long.parseLong(args[5]));
            try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
                consumer.subscribe(List.of(args[4]));
                for (int i = 0; i < 40; i++) {
                    for (var record : consumer.poll(Duration.ofMillis(500))) {
                        System.out.println("read " + record.value());
                        return;
                    }
                }
            }
            System.out.println("nothing read");
        } catch (ExecutionException | KafkaException e) {
            System.out.println("refused " + e);
        }
    }

    private static String module(String mechanism) {
        String withPassword = " required username=\"%s\" password=\"%s\";";
        return switch (mechanism) {
            case "GSSAPI" -> "com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true storeKey=true"
                    + " principal=\"%s\" keyTab=\"%s\";";
            case "PLAIN" -> "org.apache.kafka.common.security.plain.PlainLoginModule" + withPassword;
            default -> "org.apache.kafka.common.security.scram.ScramLoginModule" + withPassword;
        };
    }

    private static void send(Properties settings, String topic, long seconds) throws Exception {
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            long until = System.nanoTime() + Duration.ofSeconds(seconds).toNanos();
            do {
                producer.send(new ProducerRecord<>(topic, "value")).get();
                Thread.sleep(300);
            } while (System.nanoTime() < until);
        }
    }
}
