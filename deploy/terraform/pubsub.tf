resource "google_pubsub_topic" "events" {
  name         = "${var.name}-events"
  kms_key_name = var.kms_key == "" ? null : var.kms_key

  message_retention_duration = var.topic_retention_days == 0 ? null : "${var.topic_retention_days * 86400}s"

  depends_on = [google_project_service.used]
}

resource "google_pubsub_subscription" "events" {
  name  = var.name
  topic = google_pubsub_topic.events.id

  # Dataflow extends its leases by itself; ten minutes are for the other reader, `currents run` on a VM,
  # which acknowledges only after the effect.
  ack_deadline_seconds       = 600
  message_retention_duration = "${var.message_retention_days * 86400}s"
  retain_acked_messages      = false

  # The pipeline regroups messages by connector: order within the topic would be lost at once, and costs
  # throughput. Exactly-once delivery is Dataflow's own, and not to be had beside it.
  enable_message_ordering      = false
  enable_exactly_once_delivery = false

  # A subscription that nobody reads for a month must not go away with its messages.
  expiration_policy {
    ttl = ""
  }

  # No dead_letter_policy and no retry_policy. Dataflow supports neither
  # (https://cloud.google.com/pubsub/docs/handling-failures). And they would be wrong: a message is
  # delivered again because a worker died, which is not its fault, and after five deaths it would be in
  # a topic that nobody reads. What no partner can take becomes a dead letter of the pipeline, with its
  # reason, and can be replayed.
}

resource "google_pubsub_topic_iam_member" "publishers" {
  for_each = toset(var.publishers)

  topic  = google_pubsub_topic.events.id
  role   = "roles/pubsub.publisher"
  member = each.value
}
