{#- A table, because a view would look for the file in the working directory of each reader. -#}
{{ config(materialized='table') }}

with

source as (

    select * from {{ source('planning', 'store_targets') }}

),

renamed as (

    select
        store_id,
        month as date_month,
        revenue_target::decimal(16, 2) as revenue_target,
        published_at,

    from source

)

select * from renamed
