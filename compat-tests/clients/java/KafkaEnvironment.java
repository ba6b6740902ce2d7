import java.io.StringReader;
import java.util.List;
import java.util.Properties;
import java.util.TreeMap;
import kafka.docker.KafkaDockerWrapper$;
import scala.Tuple2;
import scala.collection.immutable.Map$;
import scala.jdk.javaapi.CollectionConverters;

/**
 * What the image apache/kafka makes of environment variables, given as NAME=VALUE each: one KEY=VALUE a line, in order.
 *
 * The mapping is the image's own; Kafka then reads the lines as the text of a properties file.
 */
public class KafkaEnvironment {
    public static void main(String[] args) throws Exception {
        scala.collection.immutable.Map<String, String> variables = Map$.MODULE$.empty();
        for (String arg : args) {
            String[] pair = arg.split("=", 2);
            variables = variables.updated(pair[0], pair[1]);
        }
        List<String> lines =
            CollectionConverters.asJava(KafkaDockerWrapper$.MODULE$.getServerConfigsFromEnv(variables));
        Properties properties = new Properties();
        properties.load(new StringReader(String.join("\n", lines)));
        TreeMap<Object, Object> sorted = new TreeMap<>(properties);
        sorted.forEach((key, value) -> System.out.println(key + "=" + ((String) value).trim().replace("\n", "\\n")));
    }
}
