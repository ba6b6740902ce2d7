from kafka import KafkaProducer


def test_that_fails(ottla):
    producer = KafkaProducer(bootstrap_servers=ottla.bootstrap)
    producer.send("topic", b"value").get(timeout=20)
    producer.close()
    assert False, "on purpose"


def test_without_a_broker():
    assert False, "on purpose"
