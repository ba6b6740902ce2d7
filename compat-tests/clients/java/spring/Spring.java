import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.*;
import org.springframework.context.annotation.*;
import org.springframework.kafka.annotation.*;
import org.springframework.kafka.config.*;
import org.springframework.kafka.core.*;
import org.springframework.kafka.listener.*;
import org.springframework.kafka.requestreply.ReplyingKafkaTemplate;
import org.springframework.kafka.retrytopic.RetryTopicConfigurationSupport;
import org.springframework.messaging.handler.annotation.SendTo;
import org.springframework.scheduling.TaskScheduler;
import org.springframework.scheduling.concurrent.ThreadPoolTaskScheduler;
import org.springframework.util.backoff.FixedBackOff;

/** Spring for Apache Kafka, as an application with its listeners. */
@Configuration
@EnableKafka
public class Spring extends RetryTopicConfigurationSupport {
    static String bootstrap;

    @Bean
    ProducerFactory<String, String> producers() {
        return new DefaultKafkaProducerFactory<>(Map.of("bootstrap.servers", bootstrap), new StringSerializer(), new StringSerializer());
    }

    @Bean
    ConsumerFactory<String, String> consumers() {
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", bootstrap, "auto.offset.reset", "earliest", "fetch.max.wait.ms", 50, "heartbeat.interval.ms", 300);
        return new DefaultKafkaConsumerFactory<>(settings, new StringDeserializer(), new StringDeserializer());
    }

    @Bean
    KafkaTemplate<String, String> template() {
        return new KafkaTemplate<>(producers());
    }

    @Bean
    KafkaAdmin admin() {
        return new KafkaAdmin(Map.of("bootstrap.servers", bootstrap));
    }

    @Bean
    KafkaAdmin.NewTopics topics() {
        return new KafkaAdmin.NewTopics(
            TopicBuilder.name("orders").partitions(2).replicas(1).config("retention.ms", "86400000").build(),
            TopicBuilder.name("orders-dlt").partitions(2).replicas(1).build(),
            TopicBuilder.name("batches").partitions(1).replicas(1).build(),
            TopicBuilder.name("payments").partitions(1).replicas(1).build(),
            TopicBuilder.name("questions").partitions(1).replicas(1).build(),
            TopicBuilder.name("answers").partitions(1).replicas(1).build());
    }

    @Bean
    ConcurrentKafkaListenerContainerFactory<String, String> kafkaListenerContainerFactory() {
        var factory = new ConcurrentKafkaListenerContainerFactory<String, String>();
        factory.setConsumerFactory(consumers());
        factory.setReplyTemplate(template());
        // Two more attempts, then to the topic of dead letters.
        factory.setCommonErrorHandler(new DefaultErrorHandler(new DeadLetterPublishingRecoverer(template()), new FixedBackOff(50, 2)));
        return factory;
    }

    @Bean
    TaskScheduler scheduler() {
        return new ThreadPoolTaskScheduler();
    }

    @Bean
    ReplyingKafkaTemplate<String, String, String> asking() {
        var properties = new ContainerProperties("answers");
        properties.setGroupId("askers");
        return new ReplyingKafkaTemplate<>(producers(), new KafkaMessageListenerContainer<>(consumers(), properties));
    }

    @Bean
    Listeners listeners() {
        return new Listeners();
    }

    static class Listeners {
        final Queue<String> orders = new ConcurrentLinkedQueue<>(), dead = new ConcurrentLinkedQueue<>(), attempts = new ConcurrentLinkedQueue<>();
        final Queue<String> payments = new ConcurrentLinkedQueue<>(), deadPayments = new ConcurrentLinkedQueue<>();
        final Queue<List<String>> batches = new ConcurrentLinkedQueue<>();

        @KafkaListener(id = "orders", topics = "orders", concurrency = "2")
        void order(ConsumerRecord<String, String> record) {
            attempts.add(record.value());
            boolean second = Collections.frequency(attempts, record.value()) > 1;
            if (record.value().equals("never") || record.value().equals("second time") && !second) throw new IllegalStateException(record.value());
            orders.add(record.value());
        }

        @KafkaListener(id = "dead", topics = "orders-dlt")
        void deadOrder(ConsumerRecord<String, String> record) {
            String from = new String(record.headers().lastHeader("kafka_dlt-original-topic").value());
            dead.add(record.key() + " " + record.value() + " of " + from);
        }

        @KafkaListener(id = "batches", topics = "batches", batch = "true")
        void batch(List<String> values) {
            batches.add(values);
        }

        @RetryableTopic(attempts = "3", backOff = @BackOff(delay = 100, multiplier = 2), kafkaTemplate = "template", replicationFactor = "1")
        @KafkaListener(id = "payments", topics = "payments")
        void payment(ConsumerRecord<String, String> record) {
            payments.add(record.topic());
            throw new IllegalStateException("not paid");
        }

        @DltHandler
        void deadPayment(ConsumerRecord<String, String> record) {
            deadPayments.add(record.topic() + " " + record.value());
        }

        @KafkaListener(id = "questions", topics = "questions")
        @SendTo
        String answer(String question) {
            return question + "!";
        }
    }

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        var context = new AnnotationConfigApplicationContext(Spring.class);
        var listeners = context.getBean(Listeners.class);
        @SuppressWarnings("unchecked")
        KafkaTemplate<String, String> template = context.getBean("template", KafkaTemplate.class);

        Capability.of("topics are made at the start", () -> {
            var described = context.getBean(KafkaAdmin.class).describeTopics("orders", "payments");
            Capability.same(described.get("orders").partitions().size(), 2);
            Capability.same(described.get("payments").partitions().size(), 1);
        });
        Capability.of("listeners take what a template sends", () -> {
            Set<String> expected = new HashSet<>();
            for (int number = 0; number < 20; number++) {
                template.send("orders", number % 2, "key", "order-" + number).get(30, TimeUnit.SECONDS);
                expected.add("order-" + number);
            }
            Capability.until("all orders", () -> listeners.orders.size() == 20);
            Capability.same(new HashSet<>(listeners.orders), expected);
        });
        Capability.of("a listener takes batches", () -> {
            for (int number = 0; number < 100; number++) template.send("batches", "value-" + number);
            template.flush();
            Capability.until("all values", () -> listeners.batches.stream().mapToInt(List::size).sum() == 100);
        });
        Capability.of("what fails is tried again", () -> {
            template.send("orders", "key", "second time").get(30, TimeUnit.SECONDS);
            Capability.until("the second attempt", () -> listeners.orders.contains("second time"));
            Capability.same(Collections.frequency(listeners.attempts, "second time"), 2);
        });
        Capability.of("what fails again and again becomes a dead letter", () -> {
            template.send("orders", "key", "never").get(30, TimeUnit.SECONDS);
            template.send("orders", "key", "behind it").get(30, TimeUnit.SECONDS);
            Capability.until("the dead letter", () -> listeners.dead.contains("key never of orders"));
            Capability.until("the next", () -> listeners.orders.contains("behind it"));
            Capability.same(Collections.frequency(listeners.attempts, "never"), 3);
        });
        Capability.of("retry topics", () -> {
            template.send("payments", "key", "ten").get(30, TimeUnit.SECONDS);
            Capability.until("the dead payment", () -> listeners.deadPayments.contains("payments-dlt ten"));
            Capability.same(List.copyOf(listeners.payments), List.of("payments", "payments-retry-100", "payments-retry-200"));
        });
        Capability.of("question and answer", () -> {
            @SuppressWarnings("unchecked")
            ReplyingKafkaTemplate<String, String, String> asking = context.getBean(ReplyingKafkaTemplate.class);
            Capability.check(asking.waitForAssignment(Duration.ofSeconds(30)), "no assignment");
            var answer = asking.sendAndReceive(new ProducerRecord<>("questions", "why"), Duration.ofSeconds(30));
            Capability.same(answer.get(30, TimeUnit.SECONDS).value(), "why!");
        });
        Capability.of("a transaction of a template", () -> {
            var producers = new DefaultKafkaProducerFactory<String, String>(
                Map.of("bootstrap.servers", bootstrap, "max.block.ms", 10_000), new StringSerializer(), new StringSerializer());
            producers.setTransactionIdPrefix("spring-");
            try {
                new KafkaTemplate<>(producers).executeInTransaction(operations -> operations.send("orders", "in a transaction"));
                Capability.until("the committed order", () -> listeners.orders.contains("in a transaction"));
            } finally {
                producers.destroy();
            }
        });
        context.close();
        System.exit(0);
    }
}
