// Logs in with franz-go or sarama, sends records for some seconds, and reads one back:
// CLIENT BOOTSTRAP MECHANISM USER PASSWORD TOPIC SECONDS. Of sarama there are two: it can
// send tokens as they are. It has no SCRAM of its own.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

type login struct {
	bootstrap, mechanism, user, password, topic string
	until                                       time.Time
}

func main() {
	a := os.Args[1:]
	seconds, err := strconv.Atoi(a[6])
	if err != nil {
		panic(err)
	}
	l := login{a[1], a[2], a[3], a[4], a[5], time.Now().Add(time.Duration(seconds) * time.Second)}
	var value string
	switch a[0] {
	case "franz-go":
		value, err = l.franz()
	case "sarama v0":
		value, err = l.sarama(sarama.SASLHandshakeV0)
	case "sarama v1":
		value, err = l.sarama(sarama.SASLHandshakeV1)
	default:
		panic(a[0])
	}
	if err != nil {
		fmt.Println("refused", err)
		return
	}
	fmt.Println("read", value)
}

func (l login) franz() (string, error) {
	var mechanism sasl.Mechanism
	switch l.mechanism {
	case "PLAIN":
		mechanism = plain.Auth{User: l.user, Pass: l.password}.AsMechanism()
	case "SCRAM-SHA-256":
		mechanism = scram.Auth{User: l.user, Pass: l.password}.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		mechanism = scram.Auth{User: l.user, Pass: l.password}.AsSha512Mechanism()
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(l.bootstrap), kgo.SASL(mechanism), kgo.ConsumeTopics(l.topic), kgo.DefaultProduceTopic(l.topic),
		kgo.AllowAutoTopicCreation(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.RetryTimeout(8*time.Second),
	)
	if err != nil {
		return "", err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		return "", err
	}
	for {
		if err := client.ProduceSync(ctx, kgo.StringRecord("value")).FirstErr(); err != nil {
			return "", err
		}
		if time.Now().After(l.until) {
			break
		}
		time.Sleep(300 * time.Millisecond)
	}
	fetches := client.PollFetches(ctx)
	if err := fetches.Err(); err != nil {
		return "", err
	}
	return string(fetches.Records()[0].Value), nil
}

func (l login) sarama(version int16) (string, error) {
	config := sarama.NewConfig()
	config.Net.SASL.Enable = true
	config.Net.SASL.Version = version
	config.ApiVersionsRequest = version != sarama.SASLHandshakeV0
	config.Net.SASL.Mechanism = sarama.SASLMechanism(l.mechanism)
	config.Net.SASL.User, config.Net.SASL.Password = l.user, l.password
	config.Producer.Return.Successes = true
	config.Metadata.Retry.Max = 1
	producer, err := sarama.NewSyncProducer([]string{l.bootstrap}, config)
	if err != nil {
		return "", err
	}
	defer producer.Close()
	for {
		message := sarama.ProducerMessage{Topic: l.topic, Value: sarama.StringEncoder("value")}
		if _, _, err := producer.SendMessage(&message); err != nil {
			return "", err
		}
		if time.Now().After(l.until) {
			break
		}
		time.Sleep(300 * time.Millisecond)
	}
	consumer, err := sarama.NewConsumer([]string{l.bootstrap}, config)
	if err != nil {
		return "", err
	}
	defer consumer.Close()
	partition, err := consumer.ConsumePartition(l.topic, 0, sarama.OffsetOldest)
	if err != nil {
		return "", err
	}
	defer partition.Close()
	return string((<-partition.Messages()).Value), nil
}
