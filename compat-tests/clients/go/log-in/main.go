// Logs in with franz-go or sarama, sends records for some seconds, and reads one back:
// CLIENT BOOTSTRAP MECHANISM USER PASSWORD TOPIC SECONDS. Of sarama there are two: it can
// send tokens as they are. It has no SCRAM of its own, and is given the library that its users take.
// With TLS_CA in the environment it encrypts, and shows TLS_CERT; mechanism NONE logs in with no more than that.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	xdg "github.com/xdg-go/scram"
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

// How it encrypts; nil: not at all.
func encrypted() *tls.Config {
	ca, found := os.LookupEnv("TLS_CA")
	if !found {
		return nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		panic(err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(pem)
	if shown, found := os.LookupEnv("TLS_CERT"); found {
		certificate, err := tls.LoadX509KeyPair(shown, shown)
		if err != nil {
			panic(err)
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return config
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
	options := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(l.bootstrap, ",")...), kgo.ConsumeTopics(l.topic), kgo.DefaultProduceTopic(l.topic),
		kgo.AllowAutoTopicCreation(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.RetryTimeout(8 * time.Second),
	}
	if mechanism != nil {
		options = append(options, kgo.SASL(mechanism))
	}
	if config := encrypted(); config != nil {
		options = append(options, kgo.DialTLSConfig(config))
	}
	client, err := kgo.NewClient(options...)
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
	config.Net.SASL.Enable = l.mechanism != "NONE"
	config.Net.TLS.Config = encrypted()
	config.Net.TLS.Enable = config.Net.TLS.Config != nil
	config.Net.SASL.Version = version
	config.ApiVersionsRequest = version != sarama.SASLHandshakeV0
	config.Net.SASL.Mechanism = sarama.SASLMechanism(l.mechanism)
	config.Net.SASL.User, config.Net.SASL.Password = l.user, l.password
	switch l.mechanism {
	case "SCRAM-SHA-256":
		config.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &conversation{hash: xdg.SHA256} }
	case "SCRAM-SHA-512":
		config.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &conversation{hash: xdg.SHA512} }
	}
	config.Producer.Return.Successes = true
	config.Metadata.Retry.Max = 1
	producer, err := sarama.NewSyncProducer(strings.Split(l.bootstrap, ","), config)
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
	consumer, err := sarama.NewConsumer(strings.Split(l.bootstrap, ","), config)
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

// One exchange of SCRAM, as sarama asks for it.
type conversation struct {
	hash xdg.HashGeneratorFcn
	*xdg.ClientConversation
}

func (c *conversation) Begin(user, password, authorizationID string) error {
	client, err := c.hash.NewClient(user, password, authorizationID)
	if err == nil {
		c.ClientConversation = client.NewConversation()
	}
	return err
}
