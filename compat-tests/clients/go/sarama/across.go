package main

import (
	"time"

	"github.com/IBM/sarama"

	"ottla/compat-tests/across"
)

type acrossClients struct{}

func (acrossClients) Write(topic, codec string, baseMs int64) error {
	var messages []*sarama.ProducerMessage
	for index, record := range across.Records {
		message := &sarama.ProducerMessage{Topic: topic, Timestamp: time.UnixMilli(baseMs + int64(index))}
		if record.Key != nil {
			message.Key = sarama.ByteEncoder(record.Key)
		}
		if record.Value != nil {
			message.Value = sarama.ByteEncoder(record.Value)
		}
		for _, header := range record.Headers {
			message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(header.Name), Value: header.Value})
		}
		messages = append(messages, message)
	}
	return produce(messages, func(config *sarama.Config) { _ = config.Producer.Compression.UnmarshalText([]byte(codec)) })
}

func (acrossClients) Read(topic string, count int) error {
	messages, err := read(topic, 0, sarama.OffsetOldest, count)
	for _, message := range messages {
		told := across.Record{Key: message.Key, Value: message.Value}
		for _, header := range message.Headers {
			told.Headers = append(told.Headers, across.Header{Name: string(header.Key), Value: header.Value})
		}
		across.Tell(message.Topic, message.Offset, message.Timestamp.UnixMilli(), told)
	}
	return err
}

func (acrossClients) Member(topic, group, _ string, stop chan struct{}) error {
	joined, err := join(group, []string{topic}, false, manual)
	if err != nil {
		return err
	}
	<-stop
	joined.leave()
	return nil
}
