"""The tasks of the scenario; the broker and the folder of the results come by the environment."""

import os

from celery import Celery

bootstrap, results = os.environ["BOOTSTRAP"], os.environ["RESULTS"]
app = Celery("tasks", broker="confluentkafka://" + bootstrap.split(",")[0], backend="file://" + results)
app.conf.update(
    task_default_queue="tasks",
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "wait_time_seconds": 1,
        "kafka_common_config": {"bootstrap.servers": bootstrap},
        "kafka_consumer_config": {"group.id": "workers", "auto.offset.reset": "earliest", "enable.auto.commit": False},
    },
)


@app.task
def add(left, right):
    with open(os.path.join(results, "done.txt"), "a") as done:
        done.write("%d\n" % left)
    return left + right


@app.task(bind=True, max_retries=3, default_retry_delay=0)
def third_time(self):
    if self.request.retries < 2:
        raise self.retry()
    return self.request.retries
