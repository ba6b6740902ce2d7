// Create a topic, produce with each compression, consume in a group, commit, describe.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/IBM/sarama"
)

const topic, group = "smoke", "smokers"

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// handler collects what the group reads.
type handler struct {
	read chan *sarama.ConsumerMessage
}

func (handler) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (handler) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (h handler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		session.MarkMessage(message, "read")
		h.read <- message
	}
	return nil
}

func main() {
	brokers := []string{os.Args[1]}
	config := sarama.NewConfig()
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Interval = 100 * time.Millisecond
	admin, err := sarama.NewClusterAdmin(brokers, config)
	check(err)
	check(admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 2, ReplicationFactor: 1}, false))

	codecs := []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionGZIP,
		sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD}
	expected := map[string]bool{}
	for _, codec := range codecs {
		producing := sarama.NewConfig()
		producing.Producer.Compression = codec
		producing.Producer.Return.Successes = true
		producing.Producer.Partitioner = sarama.NewManualPartitioner
		// Idempotent with the last codec; sarama's default is not.
		if codec == sarama.CompressionZSTD {
			producing.Producer.Idempotent = true
			producing.Producer.RequiredAcks = sarama.WaitForAll
			producing.Net.MaxOpenRequests = 1
		}
		producer, err := sarama.NewSyncProducer(brokers, producing)
		check(err)
		for number := 0; number < 20; number++ {
			value := fmt.Sprintf("%s-%d", codec, number)
			expected[value] = true
			_, _, err := producer.SendMessage(&sarama.ProducerMessage{
				Topic: topic, Partition: int32(number % 2), Key: sarama.StringEncoder(codec.String()),
				Value:   sarama.StringEncoder(strings.Repeat(value+" ", 20)),
				Headers: []sarama.RecordHeader{{Key: []byte("codec"), Value: []byte(codec.String())}},
			})
			check(err)
		}
		check(producer.Close())
	}

	consumer, err := sarama.NewConsumerGroup(brokers, group, config)
	check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	read := handler{make(chan *sarama.ConsumerMessage, 200)}
	go func() { check(consumer.Consume(ctx, []string{topic}, read)) }()
	count, headers := 0, true
	for count < 100 {
		select {
		case message := <-read.read:
			delete(expected, strings.Fields(string(message.Value))[0])
			headers = headers && string(message.Headers[0].Value) == string(message.Key)
			count++
		case <-ctx.Done():
			check(ctx.Err())
		}
	}
	if len(expected) != 0 {
		check(fmt.Errorf("missing: %v", expected))
	}

	described, err := admin.DescribeConsumerGroups([]string{group})
	check(err)
	offset := func(partition int32) int64 {
		for ctx.Err() == nil {
			committed, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {partition}})
			check(err)
			if block := committed.GetBlock(topic, partition); block != nil && block.Offset == 50 {
				return block.Offset
			}
			time.Sleep(20 * time.Millisecond)
		}
		return -1
	}
	fmt.Printf("count=%d headers_kept=%v state=%s members=%d committed=%d,%d\n",
		count, headers, described[0].State, len(described[0].Members), offset(0), offset(1))
	check(consumer.Close())
}
