# Where

variable "project" {
  description = "The project that everything is in."
  type        = string
}

variable "region" {
  description = "The region of the job and its workers, and of the secrets' replicas, for instance europe-west1."
  type        = string
}

variable "bucket_location" {
  description = "Where the buckets are: the region, or a multi-region that holds it (EU, US), so that the hold outlives the region."
  type        = string
}

variable "name" {
  description = "The job's name, and the beginning of all other names. Two deployments in a project have two names."
  type        = string
  default     = "currents"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,19}$", var.name))
    error_message = "The name has 3 to 20 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

# What is read

variable "message_retention_days" {
  description = "How long a message that is not acknowledged is kept, 3 to 31 days: the longest outage of our own that loses nothing. Longer than max_event_age, or late events have no time to come."
  type        = number
  default     = 7

  validation {
    condition     = var.message_retention_days >= 3 && var.message_retention_days <= 31
    error_message = "Pub/Sub keeps messages for 31 days at most, and less than 3 days do not cover a weekend."
  }
}

variable "topic_retention_days" {
  description = "How long the topic keeps messages, acknowledged or not, so that the subscription can be put back in time after a job was cancelled or its region was lost; 0 to 31 days, 0 for not at all. It costs storage."
  type        = number
  default     = 1

  validation {
    condition     = var.topic_retention_days >= 0 && var.topic_retention_days <= 31
    error_message = "Pub/Sub keeps messages for 31 days at most."
  }
}

variable "publishers" {
  description = "Who may publish to the topic, as members of IAM, for instance serviceAccount:events@PROJECT.iam.gserviceaccount.com."
  type        = list(string)
  default     = []
}

# What is kept

variable "dead_letter_days" {
  description = "How long dead letters are kept. They hold personal data, and are what is replayed from."
  type        = number
  default     = 30
}

variable "hold_days" {
  description = "After how many days an object of the hold is deleted whatever it is: a net under the pipeline's own deadline, never in its place. Longer than the longest max_event_age of a connector."
  type        = number
  default     = 14

  validation {
    condition     = var.hold_days >= 7
    error_message = "The hold must outlive the deadline of what it holds: 7 days at least."
  }
}

variable "kms_key" {
  description = "A Cloud KMS key for the topic, the buckets and the job's state, as projects/P/locations/L/keyRings/R/cryptoKeys/K; empty for Google's own keys."
  type        = string
  default     = ""
}

variable "operators" {
  description = "Who may read the hold's status and replay dead letters, as members of IAM. They see personal data."
  type        = list(string)
  default     = []
}

# Secrets

variable "secrets" {
  description = "The names of the partners' keys and addresses, without their values: those are added with gcloud, and are in no state of Terraform."
  type        = set(string)
  default     = []
}

variable "alert_webhook_secret" {
  description = "Which of the secrets holds the URL that alerts are posted to; empty for none."
  type        = string
  default     = ""
}

# The job

variable "template" {
  description = "The flex template's spec, as gs://BUCKET/currents-VERSION.json; see deploy/flex_template. Empty: everything but the job is made."
  type        = string
  default     = ""
}

variable "image_repository" {
  description = "The Artifact Registry repository of the template's image, as projects/P/locations/L/repositories/R: the workers read it."
  type        = string

  validation {
    condition     = can(regex("^projects/[^/]+/locations/[^/]+/repositories/[^/]+$", var.image_repository))
    error_message = "The repository is named as projects/P/locations/L/repositories/R."
  }
}

variable "connectors" {
  description = "The connectors file, as a path below the config bucket."
  type        = string
  default     = "connectors.yaml"
}

variable "parameters" {
  description = "More parameters of the template, by name; see deploy/flex_template/metadata.json."
  type        = map(string)
  default     = {}
}

variable "streaming_mode" {
  description = "at_least_once or exactly_once; see deploy/flex_template/README.md."
  type        = string
  default     = "at_least_once"

  validation {
    condition     = contains(["at_least_once", "exactly_once"], var.streaming_mode)
    error_message = "The streaming mode is at_least_once or exactly_once."
  }
}

variable "machine_type" {
  description = "The workers' machine type."
  type        = string
  default     = "n2-standard-2"
}

variable "max_workers" {
  description = "How many workers autoscaling may ask for."
  type        = number
  default     = 10
}

variable "subnetwork" {
  description = "The workers' subnetwork, as regions/R/subnetworks/S, with Private Google Access and a Cloud NAT: workers have no addresses of their own, and partners see the NAT's."
  type        = string
}

# Alerts

variable "notification_channels" {
  description = "Who is told of alerts, as projects/P/notificationChannels/N; none: alerts only show in the console."
  type        = list(string)
  default     = []
}
