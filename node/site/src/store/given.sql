-- The highest number of a list that was given back while the group was held.

ALTER TABLE groups ADD COLUMN given INTEGER NOT NULL DEFAULT 0;
